"""One optimiser step over a global batch: equal loss and gradients however the batch is split.

    B rows -> W processes -> micro-batches of b rows -> sum of nats / trained tokens of ALL B rows

Nothing waits for the device here, but an optimiser that cannot skip on its own (see `_apply`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from model.batch import Batch
from model.language_model import LanguageModel
from model.loss import HeadSettings, nll_sum
from model.optim import Optimizer
from model.placement import is_spread, whole
from pipeline.training.memory import free_cached, is_out_of_memory
from pipeline.training.parallel import Copies

MOST_TRAINED = 0.75  # above this share picking positions costs what it spares; not tuned


class SummedLoss(nn.Module):
    """The model and its loss as one module, so that DDP and compile see the whole forward pass.

    Noise and z-loss belong to training: after `eval()` it is the loss alone.
    """

    def __init__(
        self, model: LanguageModel, *, embedding_noise: float = 0.0, z_loss: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.embedding_noise = embedding_noise
        cap = model.config.logit_softcap
        self.head = HeadSettings(softcap=cap, z_loss=z_loss)
        self.plain_head = HeadSettings(softcap=cap)

    def forward(self, batch: Batch) -> Tensor:
        """Summed nats of the trained targets, a float64 scalar."""
        noise = None
        if self.embedding_noise and self.training:
            noise = neftune_noise(batch.segment_ids, self.model.config.width, self.embedding_noise)
        wanted = few_trained(batch.loss_mask)
        hidden = self.model.hidden(
            batch.inputs,
            positions=batch.positions,
            segment_ids=batch.segment_ids,
            embedding_noise=noise,
            wanted=wanted,
            source=batch.source,
        )  # (B, T, D) or (n, D)
        if wanted is None:
            hidden, targets, mask = batch.at_predicted(hidden)  # (B, M, D) where few are predicted
        else:
            targets, mask = batch.targets.reshape(-1)[wanted], batch.loss_mask.reshape(-1)[wanted]
        total, _ = nll_sum(
            self.model.features(hidden),
            self.model.head_weight,
            targets,
            mask,
            bias=self.model.head_bias,
            settings=self.head if self.training else self.plain_head,
        )
        return total


def few_trained(loss_mask: Tensor) -> Tensor | None:
    """The flat positions (n,) of (B, T) that are trained; None where most are, or none.

    In fine-tuning they are few, and nothing reads the last block's other outputs. Asked on the CPU
    alone: elsewhere counting would stall the device.
    """
    if loss_mask.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    trained = loss_mask.reshape(-1).nonzero().squeeze(1)
    return trained if 0 < len(trained) < MOST_TRAINED * loss_mask.numel() else None


def neftune_noise(segment_ids: Tensor, width: int, alpha: float) -> Tensor:
    """(B, T, D) uniform in +-alpha / sqrt(L * D), L the length of each token's own example.

    Jain et al. 2023, algorithm 1. Padding gets none. Draws from the global generator, so another
    split into micro-batches draws other noise.
    """
    rows, length = segment_ids.shape
    counts = torch.zeros(rows, int(segment_ids.max()) + 1, device=segment_ids.device)
    counts.scatter_add_(1, segment_ids, torch.ones_like(segment_ids, dtype=counts.dtype))
    lengths = counts.gather(1, segment_ids)  # (B, T)
    scale = torch.where(segment_ids > 0, alpha / (lengths * width).sqrt(), 0.0)
    drawn = torch.empty(rows, length, width, device=segment_ids.device).uniform_(-1, 1)
    return drawn * scale.unsqueeze(-1)


@dataclass(frozen=True)
class StepResult:
    """Scalars on the device; reading them waits for it."""

    loss: Tensor
    """Mean nats per trained token of the global batch."""
    grad_norm: Tensor
    """Before clipping."""
    applied: Tensor
    """bool: False when loss or gradient was not finite, or a spike, and nothing was changed."""


class Stepper:
    """Computes gradients and applies them, or leaves weights and moments bitwise untouched."""

    def __init__(
        self,
        loss: SummedLoss,
        optimizer: Optimizer,
        *,
        micro_rows: int,
        grad_clip: float | None,
        device: torch.device,
        parallel: Copies,
        compile_model: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.parameters = [p for p in loss.parameters() if p.requires_grad]
        self.micro_rows, self.grad_clip = micro_rows, grad_clip
        self.device, self.parallel, self.world = device, parallel, parallel.world
        if compile_model:
            loss.compile()
        self.loss = parallel.wrap(loss)

    def step(
        self, batch: Batch, *, trained_tokens: float, limit: Tensor | None = None
    ) -> StepResult:
        """One update from this process's rows of the global batch.

        `trained_tokens` is the sum of the loss mask over the *global* batch, above 0. A loss above
        `limit` changes nothing, like one that is not finite.
        """
        loss = self._gradients_that_fit(batch, trained_tokens=trained_tokens)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(grads))
        if self.grad_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.grad_clip, norm)
        sound = torch.isfinite(loss) & torch.isfinite(norm)
        if limit is not None:
            sound = sound & (loss <= limit)
        self._apply(sound)
        return StepResult(loss, norm, sound)

    def _gradients_that_fit(self, batch: Batch, *, trained_tokens: float) -> Tensor:
        """`gradients`, in micro-batches half as large for as long as memory runs out.

        The global batch stays what it was. One process only: others would wait for this one.
        """
        while True:
            try:
                return self.gradients(batch, trained_tokens=trained_tokens)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self.micro_rows == 1 or self.world.size > 1:
                    raise
            self.optimizer.zero_grad()
            free_cached(self.device)
            self.micro_rows = (self.micro_rows + 1) // 2
            torch.manual_seed(torch.initial_seed())  # the step's random numbers from their start

    def gradients(self, batch: Batch, *, trained_tokens: float) -> Tensor:
        """Leave the global batch's mean gradient in `.grad`; return its mean loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for micro, last in _micro_batches(batch, self.micro_rows):
            with self.parallel.sync(self.loss, last=last):
                nats = self.loss(micro)
                # Gradients are averaged over processes; the true gradient is the sum over them.
                (nats * (self.world.size / trained_tokens)).backward()
            total += nats.detach()
        if self.world.size > 1:
            torch.distributed.all_reduce(total)
        return total / trained_tokens

    def _apply(self, sound: Tensor) -> None:
        """Step where `sound`; fused kernels on a GPU read the flag there, without a host sync.

        Multiplying an update by 0 is no skip: 0 * NaN is NaN and stays in the moments for ever.
        """
        parts = self.optimizer.parts.values()
        if self.device.type == "cuda" and all(map(_skips_on_device, parts)):
            unsound = (~sound).float()
            for part in parts:
                part.grad_scale, part.found_inf = None, unsound  # type: ignore[attr-defined]
            self.optimizer.step()
        elif bool(sound):
            self.optimizer.step()


def _skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its kernels read `found_inf`: torch's fused Adam family."""
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return False
    groups = optimizer.param_groups
    spread = any(is_spread(p) for group in groups for p in group["params"])
    return not spread and all(group.get("fused") for group in groups)


def _micro_batches(batch: Batch, micro_rows: int) -> Iterator[tuple[Batch, bool]]:
    rows = len(batch.inputs)
    for start in range(0, rows, micro_rows):
        stop = min(start + micro_rows, rows)
        yield batch.rows(start, stop), stop == rows
