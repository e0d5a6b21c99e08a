"""Cross-entropy of the next token that never holds the whole logits.

N = B*T rows, D width, V vocabulary, C rows per chunk. (N, V) logits are the largest tensor of a
training step; here a chunk of them lives in cache, and its gradient is taken while it is there.

    hidden (N, D) --chunk--> logits (C, V) --> nll (C,)
                                  '--> softmax - one-hot --> grad hidden (C, D), grad head (V, D)
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.language_model import LanguageModel

CHUNK_ROWS_CPU = 512  # 512 x 8192 logits stay in the last-level cache; 1.12-1.18x over whole logits
CHUNK_ROWS_GPU = 8192  # guess: large enough to fill the device, small beside the activations


@dataclass(frozen=True)
class HeadSettings:
    """What there is between the head's product and the loss, besides nothing."""

    softcap: float | None = None
    """Logits become cap * tanh(logits / cap) (Gemma 2, Riviere et al. 2024, section 2)."""
    z_loss: float = 0.0
    """Weight of log(Z)^2 in the gradient (PaLM, Chowdhery et al. 2022, section 5: 1e-4)."""


PLAIN = HeadSettings()


def nll_sum(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    loss_mask: Tensor,
    chunk_rows: int | None = None,
    *,
    bias: Tensor | None = None,
    settings: HeadSettings = PLAIN,
) -> tuple[Tensor, Tensor]:
    """`(sum(nll * mask), sum(mask))` in nats, both float64 scalars; the first is differentiable.

    `hidden` (B, T, D) or (N, D), `targets` and `loss_mask` of its leading shape, `head_weight`
    (V, D) of any float dtype, `bias` (V,). Targets where the mask is 0 are never read, so any value
    may stand there. Softmax and its gradient are float32, products are in `hidden`'s dtype.

    With a z-loss the *gradient* is that of sum((nll + z_loss * log(Z)^2) * mask); the value stays
    the nll, so that losses of runs with and without it compare.
    """
    rows = hidden.reshape(-1, hidden.shape[-1])  # (N, D)
    flat_targets, flat_mask = targets.reshape(-1), loss_mask.reshape(-1).float()
    total_mask = flat_mask.double().sum()
    if rows.device.type == "cpu":  # elsewhere the count would stall the device
        kept = flat_mask.nonzero().squeeze(1)
        if len(kept) < len(flat_mask):  # rows without loss cost no logits: most of them in SFT
            rows, flat_targets, flat_mask = rows[kept], flat_targets[kept], flat_mask[kept]
    else:
        flat_targets = torch.where(flat_mask != 0, flat_targets, 0)
    chunk = chunk_rows or (CHUNK_ROWS_CPU if rows.device.type == "cpu" else CHUNK_ROWS_GPU)
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        total: Tensor = _ChunkedNll.apply(
            rows, head_weight, bias, flat_targets, flat_mask, chunk, settings
        )
        return total, total_mask
    nll = _chunked_nll(rows, head_weight, bias, flat_targets, chunk, settings)
    return (nll.double() * flat_mask.double()).sum(), total_mask


def token_nll(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    chunk_rows: int | None = None,
    *,
    bias: Tensor | None = None,
    settings: HeadSettings = PLAIN,
) -> Tensor:
    """Nats per position, float32 at least, of `targets`' shape; no gradient. For evaluation.

    `hidden` (B, T, D) or (N, D); every target must be a token id.
    """
    rows = hidden.reshape(-1, hidden.shape[-1])
    chunk = chunk_rows or (CHUNK_ROWS_CPU if rows.device.type == "cpu" else CHUNK_ROWS_GPU)
    with torch.no_grad():
        nll = _chunked_nll(rows, head_weight, bias, targets.reshape(-1), chunk, settings)
        return nll.view(targets.shape)


def model_nll(model: LanguageModel, hidden: Tensor, targets: Tensor) -> Tensor:
    """`token_nll` of a model's hidden states, with whatever its head has."""
    return token_nll(
        model.features(hidden),
        model.head_weight,
        targets,
        bias=model.head_bias,
        settings=HeadSettings(softcap=model.config.logit_softcap),
    )


def logits_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats per position from whole logits (..., V): the plain definition, differentiable."""
    flat = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1), reduction="none"
    )
    return flat.view(targets.shape)


def _chunked_nll(
    rows: Tensor,
    head_weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    chunk: int,
    settings: HeadSettings,
) -> Tensor:
    weight = head_weight.to(rows.dtype)
    offset = None if bias is None else bias.to(rows.dtype)
    pieces = []
    for h, t in zip(rows.split(chunk), targets.split(chunk), strict=True):
        scores = F.linear(h, weight, offset)  # (C, V)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if settings.softcap is not None:
            scores = scores.div_(settings.softcap).tanh_().mul_(settings.softcap)
        pieces.append(F.cross_entropy(scores, t, reduction="none"))  # (C,)
    return torch.cat(pieces) if pieces else rows.new_zeros(0, dtype=torch.float32)


class _ChunkedNll(torch.autograd.Function):
    """sum(nll * mask) whose gradients are computed in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        head_weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        mask: Tensor,
        chunk: int,
        settings: HeadSettings,
    ) -> Tensor:
        weight = head_weight.to(rows.dtype)
        offset = None if bias is None else bias.to(rows.dtype)
        grad_rows = torch.empty_like(rows)
        # float32 whatever the products are in: a sum over chunks must not round at every addition.
        exact = torch.promote_types(rows.dtype, torch.float32)
        grad_weight = torch.zeros(head_weight.shape, dtype=exact, device=rows.device)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=exact)
        total = torch.zeros((), dtype=torch.float64, device=rows.device)
        # Buffers are reused: fresh ones of this size cost more in page faults than the arithmetic.
        logits = rows.new_empty(min(chunk, len(rows)), len(weight))  # (C, V) <- the big one
        softmax = torch.empty_like(logits)
        uniform = bool((mask == 1).all()) if rows.device.type == "cpu" else False
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            h, t, m = rows[part], targets[part].unsqueeze(1), mask[part].unsqueeze(1)
            scores, grad = logits[: len(h)], softmax[: len(h)]
            torch.mm(h, weight.t(), out=scores)
            if offset is not None:
                scores += offset
            if settings.softcap is not None:
                scores.div_(settings.softcap).tanh_().mul_(settings.softcap)
            nll = _softmax_and_nll(scores, t, out=grad)
            total += (nll.double() * m).sum()
            if settings.z_loss:
                log_z = scores.gather(1, t).to(nll.dtype) + nll  # (C, 1)
                grad.mul_(1 + 2 * settings.z_loss * log_z)
            # Minus one-hot. Not scatter_add_, which copies all of a bfloat16 tensor twice.
            hot = t.squeeze(1) + torch.arange(len(h), device=t.device) * len(weight)
            grad.view(-1).index_add_(0, hot, torch.full_like(hot, -1, dtype=grad.dtype))
            if not uniform:
                grad.mul_(m.to(grad.dtype))
            if settings.softcap is not None:  # the derivative of the cap: 1 - tanh^2
                grad.addcmul_(grad * scores, scores, value=-1 / settings.softcap**2)
            torch.mm(grad, weight, out=grad_rows[part])
            grad_weight += grad.t() @ h
            if grad_bias is not None:
                grad_bias += grad.sum(0, dtype=exact)
        if grad_bias is not None and bias is not None:
            grad_bias = grad_bias.to(bias.dtype)
        ctx.save_for_backward(grad_rows, grad_weight.to(head_weight.dtype), grad_bias)
        return total

    @staticmethod
    def backward(
        ctx: Any, *grads: Any
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None, None, None]:
        grad_rows, grad_weight, grad_bias = ctx.saved_tensors
        scale = grads[0]  # a float64 scalar: it keeps its precision and changes no dtype
        of_bias = None if grad_bias is None else grad_bias * scale
        return grad_rows * scale, grad_weight * scale, of_bias, None, None, None, None


def _softmax_and_nll(scores: Tensor, targets: Tensor, *, out: Tensor) -> Tensor:
    """Softmax of (C, V) into `out`, and the (C, 1) nats of the targets (C, 1)."""
    if scores.dtype in (torch.float32, torch.float64):
        torch.log_softmax(scores, dim=-1, out=out)
        nll = out.gather(1, targets).neg_()
        out.exp_()
        return nll
    # The gradient is rounded to this dtype anyway. -log of a rounded probability is off by at most
    # 0.004 nats, to either side, less than the rounding of its logit.
    torch.softmax(scores, dim=-1, out=out)
    tiny = torch.finfo(torch.float32).tiny
    return out.gather(1, targets).float().clamp_min_(tiny).log_().neg_()
