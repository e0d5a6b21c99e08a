"""Trainers side by side, one step at a time: ours, nanoGPT, Hugging Face, litgpt.

B rows, T positions, D width, V vocabulary. An arm is a model with its optimiser; `step` trains on
one batch and waits for the loss, `nats` evaluates. Ours takes the step of the training loop
(`Stepper`); a peer's is its own documented loop's: forward, backward, clip at 1, AdamW. The peers'
code is read where it lies and imported under a name of its own.
"""

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architectures import AnyModel, ComputeDtype, GPT2Config, Initialization, Qwen3Config
from model.batch import Batch
from model.optim import AdamWConfig, AnyOptimizer, MuonConfig, Optimizer, build_optimizer
from pipeline.training.devices import World
from pipeline.training.parallel import Copies
from pipeline.training.step import Stepper, SummedLoss

BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.1, 1.0  # nanoGPT's train.py and ours alike
ROPE_BASE = 10_000


@dataclass(frozen=True)
class Shape:
    """One model shape for everybody."""

    layers: int
    heads: int
    width: int
    context_length: int
    rows: int
    vocab_size: int

    @property
    def tokens(self) -> int:
        """Positions of one step."""
        return self.rows * self.context_length


CONFIG_B = Shape(layers=6, heads=6, width=384, context_length=256, rows=16, vocab_size=8192)
TINY = Shape(layers=2, heads=2, width=32, context_length=32, rows=4, vocab_size=64)


@dataclass
class Arm:
    """One trainer, ready to step."""

    step: Callable[[Tensor, Tensor], float]
    """inputs (B, T), targets (B, T) -> mean nats of the batch before the update."""
    nats: Callable[[Tensor, Tensor], float]
    """The same without training."""
    set_rate: Callable[[float], None]
    """Scale the learning rates to this factor of the full ones."""
    num_parameters: int


def ours(
    model: AnyModel, optimizer: AnyOptimizer, dtype: str, *, device: str = "cpu", seed: int = 0,
    grad_clip: float | None = CLIP, compile_model: bool = False, dropout: float = 0.0,
) -> Arm:  # fmt: skip
    """Our model under our training loop's step."""
    compute: ComputeDtype = "bfloat16" if dtype == "bfloat16" else "float32"
    built = model.build(seed=seed, device=device, compute_dtype=compute)
    built.set_dropout(dropout)
    updates: Optimizer = build_optimizer(built, optimizer)
    loss = SummedLoss(built)
    stepper = Stepper(
        loss, updates, micro_rows=1 << 30, grad_clip=grad_clip, device=torch.device(device),
        parallel=Copies(World()), compile_model=compile_model,
    )  # fmt: skip

    def step(inputs: Tensor, targets: Tensor) -> float:
        batch = whole_rows(inputs, targets)
        return float(stepper.step(batch, trained_tokens=float(targets.numel())).loss)

    @torch.no_grad()
    def nats(inputs: Tensor, targets: Tensor) -> float:
        loss.eval()
        total = float(loss(whole_rows(inputs, targets))) / targets.numel()
        loss.train()
        return total

    return Arm(step, nats, updates.set_factor, built.num_parameters())


def whole_rows(inputs: Tensor, targets: Tensor) -> Batch:
    """A batch whose rows are one document each and trained everywhere."""
    rows, length = inputs.shape
    return Batch(
        inputs, targets, torch.ones(rows, length, device=inputs.device),
        torch.ones_like(inputs), torch.arange(length, device=inputs.device).expand(rows, length),
    )  # fmt: skip


def gpt2_shape(shape: Shape, *, exact_gelu: bool) -> GPT2Config:
    """Our GPT-2 as nanoGPT (exact GELU) or as Hugging Face (tanh GELU) has it."""
    return GPT2Config(
        vocab_size=shape.vocab_size, context_length=shape.context_length, width=shape.width,
        layers=shape.layers, heads=shape.heads, activation="gelu" if exact_gelu else "gelu_tanh",
    )  # fmt: skip


def best_shape(shape: Shape) -> Qwen3Config:
    """Our best configuration at the width and depth of `shape`; see docs/lab-notes.md."""
    return Qwen3Config(
        vocab_size=shape.vocab_size, context_length=shape.context_length, width=shape.width,
        layers=shape.layers, heads=shape.heads, kv_heads=shape.heads,
        head_width=shape.width // shape.heads, hidden_width=_multiple(shape.width * 8 / 3, 64),
        rope_theta=float(ROPE_BASE), tied_head=False,
        init=Initialization(head_std=0.001, zero_outputs=True),
    )  # fmt: skip


def our_adamw(shape: Shape, dtype: str, *, exact_gelu: bool = True, **options: Any) -> Arm:
    """The GPT-2 shape with AdamW: the same arithmetic as the peers'."""
    optimizer = AdamWConfig(learning_rate=1e-3, betas=BETAS, weight_decay=WEIGHT_DECAY)
    return ours(gpt2_shape(shape, exact_gelu=exact_gelu), optimizer, dtype, **options)


def our_best(shape: Shape, dtype: str, **options: Any) -> Arm:
    """Our best configuration, with Muon."""
    return ours(best_shape(shape), MuonConfig(), dtype, **options)


def nanogpt(
    shape: Shape, dtype: str, source: Path, *, device: str = "cpu", learning_rate: float = 1e-3,
    betas: tuple[float, float] = BETAS, bias: bool = True, dropout: float = 0.0,
    compile_model: bool = False,
) -> Arm:  # fmt: skip
    """nanoGPT's model and its own optimiser; autocast where the dtype is bfloat16."""
    module = imported(source / "model.py", "nanogpt_model")
    model = module.GPT(
        module.GPTConfig(
            block_size=shape.context_length, vocab_size=shape.vocab_size, n_layer=shape.layers,
            n_head=shape.heads, n_embd=shape.width, dropout=dropout, bias=bias,
        )
    ).to(device)  # fmt: skip
    optimizer = model.configure_optimizers(
        WEIGHT_DECAY, learning_rate, betas, torch.device(device).type
    )

    called = torch.compile(model) if compile_model else model

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = called(inputs, targets)[1]
        return result

    return _peer(model, optimizer, loss, dtype)


def huggingface(
    shape: Shape, dtype: str, *, device: str = "cpu", compile_model: bool = False
) -> Arm:
    """transformers' GPT2LMHeadModel with fused AdamW."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.context_length, n_embd=shape.width,
        n_layer=shape.layers, n_head=shape.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).to(device)
    called = torch.compile(model) if compile_model else model
    return _plain_peer(model, lambda inputs: called(inputs).logits, shape, dtype)


def litgpt(shape: Shape, dtype: str, *, device: str = "cpu", compile_model: bool = False) -> Arm:
    """litgpt's GPT in the GPT-NeoX form of the shape: LayerNorm, exact GELU, rotary, untied."""
    from litgpt.config import Config
    from litgpt.model import GPT

    config = Config(
        block_size=shape.context_length, n_layer=shape.layers, n_embd=shape.width,
        n_head=shape.heads, padded_vocab_size=shape.vocab_size, vocab_size=shape.vocab_size,
        parallel_residual=False, rotary_percentage=1.0, rope_base=ROPE_BASE, attn_bias=True,
    )  # fmt: skip
    model = GPT(config).to(device)
    called = torch.compile(model) if compile_model else model
    return _plain_peer(model, called, shape, dtype)


def _plain_peer(model: nn.Module, logits: Callable[[Tensor], Any], shape: Shape, dtype: str) -> Arm:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        flat: Tensor = logits(inputs).view(-1, shape.vocab_size)
        return F.cross_entropy(flat.float(), targets.view(-1))

    return _peer(model, optimizer, loss, dtype)


def _peer(
    model: nn.Module, optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Tensor, Tensor], Tensor], dtype: str,
) -> Arm:  # fmt: skip
    device = next(model.parameters()).device.type
    full = [group["lr"] for group in optimizer.param_groups]

    def forward(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            return loss_of(inputs, targets)

    def step(inputs: Tensor, targets: Tensor) -> float:
        loss = forward(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def nats(inputs: Tensor, targets: Tensor) -> float:
        model.eval()
        loss = forward(inputs, targets).item()
        model.train()
        return loss

    def set_rate(factor: float) -> None:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * factor

    return Arm(step, nats, set_rate, sum(p.numel() for p in model.parameters()))


def imported(path: Path, name: str) -> ModuleType:
    """The module in a file, under `name`: nanoGPT calls its own `model`, as we do."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def _multiple(value: float, of: int) -> int:
    return math.ceil(value / of) * of
