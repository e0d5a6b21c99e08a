"""Attention for training on the CPU: norm, rotation and attention as one function.

B batch, T time, H query heads, G key-value heads, N = H + 2G, K head width.

    (B, T, N*K) -> heads first (N, B, T, K) -> norm, rotate -> softmax(q k) v -> (B, T, H*K)

PyTorch's flash kernel for the CPU spends 39 ms on forward and backward of 16 x 3 x 256 x 64 in
bfloat16 on one core, most of it in the backward pass; products of blocks spend 8 ms. They keep the
probabilities, so they are used where those are few (`MAX_SCORES`) and the kernel beyond.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.norms import normalize, normalize_backward
from model.rotary import Rotation

BLOCK_ROWS = 64  # query rows per block: causal attention never computes right of the diagonal
MAX_SCORES = 1 << 25  # probabilities kept per layer; 64 MB in bfloat16


@dataclass(frozen=True)
class Heads:
    """How the joined projection divides; `norm_epsilon` is None without QK-norm."""

    query: int
    key: int
    width: int
    norm_epsilon: float | None


@dataclass(frozen=True)
class Boundaries:
    """Where documents begin inside rows: (row, position) pairs, in order; and who sees whom."""

    starts: tuple[tuple[int, int], ...]
    causal: bool = True
    """Whether a token sees only what came before it in its document, or all of it."""


def document_boundaries(segment_ids: Tensor, *, causal: bool = True) -> Boundaries | None:
    """The boundaries in (B, T) segment ids; None if an id comes back after another one."""
    order = torch.where(segment_ids == 0, torch.iinfo(torch.int64).max, segment_ids)
    if bool((order[:, 1:] < order[:, :-1]).any()):  # 1 1 2 2 0 0 is fine, 1 2 1 is not
        return None
    changes = (segment_ids[:, 1:] != segment_ids[:, :-1]).nonzero()
    return Boundaries(tuple((row, position + 1) for row, position in changes.tolist()), causal)


def cpu_attention(
    joined: Tensor,
    query_weight: Tensor | None,
    key_weight: Tensor | None,
    rotation: Rotation | None,
    heads: Heads,
    boundaries: Boundaries,
) -> Tensor:
    """(B, T, N*K) -> (B, T, H*K); the rotation must be that of one row, (T, 1, K)."""
    cos = sin = None
    if rotation is not None:
        cos, sin = rotation.cos.squeeze(1), rotation.sin.squeeze(1)
    mixed: Tensor = _CpuAttention.apply(
        joined, query_weight, key_weight, cos, sin, heads, boundaries
    )
    return mixed


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        joined: Tensor,
        query_weight: Tensor | None,
        key_weight: Tensor | None,
        cos: Tensor | None,
        sin: Tensor | None,
        heads: Heads,
        boundaries: Boundaries,
    ) -> Tensor:
        rows, length, _ = joined.shape
        split = joined.view(rows, length, -1, heads.width).permute(2, 0, 1, 3)  # (N, B, T, K)
        normed = split[: heads.query + heads.key].contiguous()
        value = split[heads.query + heads.key :].contiguous()
        scale = None
        if heads.norm_epsilon is not None:
            normed, scale = normalize(normed, heads.norm_epsilon)
        weights = (query_weight, key_weight)
        query, key = (
            _turn(part, weight, cos, sin)
            for part, weight in zip(normed.split((heads.query, heads.key)), weights, strict=True)
        )
        query = query * heads.width**-0.5
        repeats = heads.query // heads.key
        key, value = _repeat(key, repeats), _repeat(value, repeats)
        flat = [x.view(-1, length, heads.width) for x in (query, key, value)]  # (H*B, T, K)
        mixed, probabilities = _attend(flat[0], flat[1], flat[2], rows, boundaries)
        ctx.heads, ctx.shape = heads, joined.shape
        ctx.save_for_backward(
            *flat, normed, scale, query_weight, key_weight, cos, sin, *probabilities
        )
        mixed = mixed.view(heads.query, rows, length, heads.width).permute(1, 2, 0, 3)
        return mixed.reshape(rows, length, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        query, key, value, normed, scale, *rest = ctx.saved_tensors
        query_weight, key_weight, cos, sin, *probabilities = rest
        heads, (rows, length, _) = ctx.heads, ctx.shape
        mixed = grads[0].view(rows, length, heads.query, heads.width).permute(2, 0, 1, 3)
        mixed = mixed.reshape(-1, length, heads.width)  # (H*B, T, K)
        flat = _attend_backward(mixed, query, key, value, probabilities)
        by_head = [x.view(heads.query, rows, length, heads.width) for x in flat]
        grad_query = by_head[0] * heads.width**-0.5
        repeats = heads.query // heads.key
        grad_key, grad_value = _repeat_backward(by_head[1], repeats), by_head[2]
        out = query.new_empty(ctx.shape)
        split = out.view(rows, length, -1, heads.width).permute(2, 0, 1, 3)  # (N, B, T, K)
        split[heads.query + heads.key :] = _repeat_backward(grad_value, repeats)
        grad_weights: list[Tensor | None] = []
        start = 0
        for grad, weight in ((grad_query, query_weight), (grad_key, key_weight)):
            part = slice(start, start + len(grad))
            if cos is not None:
                # The inverse of a rotation turns the other way.
                grad = torch.addcmul(grad * cos, _swapped(grad), _signed(sin), value=-1.0)
            grad_weight = None
            if weight is not None:
                grad, grad_weight = normalize_backward(grad, normed[part], scale[part], weight)
                grad_weight = grad_weight.to(weight.dtype)
            split[part] = grad
            grad_weights.append(grad_weight)
            start = part.stop
        return out, *grad_weights, None, None, None, None


def _swapped(x: Tensor) -> Tensor:
    """The two halves of the last dimension exchanged."""
    return x.roll(x.shape[-1] // 2, dims=-1)


def _signed(sin: Tensor) -> Tensor:
    """(T, K) sines, negative in the first half: x * cos + swapped(x) * signed is the rotation."""
    half = sin.shape[-1] // 2
    return torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)


def _turn(x: Tensor, weight: Tensor | None, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """rotate(x * weight) for x (heads, B, T, K), the weight folded into the small tables."""
    if cos is None or sin is None:
        return x if weight is None else x * weight
    sin = _signed(sin)
    if weight is not None:
        cos, sin = cos * weight, sin * _swapped(weight)
    return torch.addcmul(x * cos, _swapped(x), sin)


def _repeat(x: Tensor, repeats: int) -> Tensor:
    """(G, B, T, K) -> (H, B, T, K): each key-value head serves `repeats` query heads."""
    return x if repeats == 1 else x.repeat_interleave(repeats, dim=0)


def _repeat_backward(grad: Tensor, repeats: int) -> Tensor:
    return grad if repeats == 1 else grad.unflatten(0, (-1, repeats)).sum(1)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, rows: int, boundaries: Boundaries
) -> tuple[Tensor, list[Tensor]]:
    """softmax(query key) value by blocks of query rows, and the blocks' probabilities."""
    length = query.shape[1]
    mixed = torch.empty_like(query)
    probabilities = []
    future = torch.ones(BLOCK_ROWS, BLOCK_ROWS, dtype=torch.bool).triu(1)
    for start in range(0, length, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, length)
        seen = stop if boundaries.causal else length  # keys of this block
        scores = torch.bmm(query[:, start:stop], key[:, :seen].transpose(1, 2))  # (H*B, C, S)
        size = stop - start
        if boundaries.causal:
            scores[:, :, start:].masked_fill_(future[:size, :size], float("-inf"))
        by_row = scores.view(-1, rows, size, seen)
        for row, first in boundaries.starts:
            if first < stop:  # what begins at `first` does not see what came before
                by_row[:, row, max(0, first - start) :, :first] = float("-inf")
            if first > start and not boundaries.causal:  # nor is it seen from there
                by_row[:, row, : first - start, first:] = float("-inf")
        block = torch.softmax(scores, dim=-1)
        torch.bmm(block, value[:, :seen], out=mixed[:, start:stop])
        probabilities.append(block)
    return mixed, probabilities


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, probabilities: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    grad_query = torch.empty_like(query)
    grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
    for i, block in enumerate(probabilities):
        start, seen = i * BLOCK_ROWS, block.shape[2]
        stop = start + block.shape[1]
        part = grad[:, start:stop]
        grad_value[:, :seen].baddbmm_(block.transpose(1, 2), part)
        slope = torch.bmm(part, value[:, :seen].transpose(1, 2))
        slope = torch._softmax_backward_data(slope, block, -1, block.dtype)
        torch.bmm(slope, key[:, :seen], out=grad_query[:, start:stop])
        grad_key[:, :seen].baddbmm_(slope.transpose(1, 2), query[:, start:stop])
    return grad_query, grad_key, grad_value
