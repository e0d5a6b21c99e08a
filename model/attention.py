"""Self-attention: the masks, the key-value cache, grouped heads.

B batch, T time, S keys, H heads, G key-value heads, K head width, D model width.
Masks are additive: 0 where attention is allowed, a huge negative number where not, so they sum:

    padding mask (B, 1, 1, T)  +  sequence mask (1, 1, T, T)  =  attention mask (B, 1, T, T)

`document_mask` is the padding mask's generalisation to several documents packed in a row.
With one whole document per row no mask is built; the kernel's causal form is used.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.cpu_attention import MAX_SCORES, Boundaries, Heads, cpu_attention
from model.errors import ContextLengthError
from model.layers import Linear, joined
from model.norms import RMSNorm
from model.rotary import Rotation, rotate


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    # The most negative finite number, not -inf: a row in which every key is padding must give some
    # finite average (nobody reads it), not NaN. Two of them sum to -inf, but never the whole row.
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=allowed.device)
    return torch.where(allowed, torch.zeros((), dtype=dtype, device=allowed.device), blocked)


def padding_mask(valid: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, S) bool, False where padded -> (B, 1, 1, S): padded positions are never attended."""
    return _additive(valid[:, None, None, :], dtype)


def sequence_mask(
    length: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """(1, 1, T, T): position i attends to positions up to i."""
    index = torch.arange(length, device=device)
    return _additive(index[None, None, :, None] >= index[None, None, None, :], dtype)


def document_mask(segment_ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, T) segment ids -> (B, 1, T, T): a token attends only within its own segment.

    Padding is segment 0: real tokens never attend to it.
    """
    return _additive(segment_ids[:, None, :, None] == segment_ids[:, None, None, :], dtype)


def packed_causal_mask(segment_ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sequence mask + document mask, (B, 1, T, T), built in one pass."""
    length = segment_ids.shape[1]
    index = torch.arange(length, device=segment_ids.device)
    causal = index[:, None] >= index[None, :]  # (T, T)
    same = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    return _additive(same & causal, dtype)


@dataclass
class KVCache:
    """Keys and values of the tokens seen so far, for up to `max_tokens` of them per row.

    Layers are appended to in order within one forward pass; the model advances `length` once.
    Rows may be padded on the left; `valid` (B, max_tokens) remembers where, None means nowhere.
    """

    max_tokens: int
    length: int = 0
    valid: Tensor | None = None
    _keys: dict[int, Tensor] = field(default_factory=dict)
    _values: dict[int, Tensor] = field(default_factory=dict)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, T, G, K) of new tokens; returns all keys and values, (B, S, G, K) each."""
        rows, new, heads, width = key.shape
        stop = self.length + new
        if stop > self.max_tokens:
            raise ContextLengthError(
                f"{stop} tokens exceed the cache's {self.max_tokens}; make a larger KVCache"
            )
        if layer not in self._keys:
            self._keys[layer] = key.new_empty(rows, self.max_tokens, heads, width)
            self._values[layer] = value.new_empty(rows, self.max_tokens, heads, width)
        self._keys[layer][:, self.length : stop] = key
        self._values[layer][:, self.length : stop] = value
        return self._keys[layer][:, :stop], self._values[layer][:, :stop]

    def mark(self, valid: Tensor) -> None:
        """Remember which of the new tokens (B, T) are padding."""
        if self.valid is None:
            self.valid = valid.new_ones(len(valid), self.max_tokens)
        self.valid[:, self.length : self.length + valid.shape[1]] = valid

    def mask(self, new: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """The mask of `new` tokens against everything up to them; None where all is allowed."""
        stop = self.length + new
        causal = None
        if new > 1:
            causal = sequence_mask(stop, dtype, device)[:, :, self.length :]  # (1, 1, T, S)
        if self.valid is None:
            return causal
        padding = padding_mask(self.valid[:, :stop], dtype)  # (B, 1, 1, S)
        return padding if causal is None else padding + causal

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only these rows of the batch (finished ones leave)."""
        for store in (self._keys, self._values):
            for layer, tensor in store.items():
                store[layer] = tensor[rows]
        self.valid = None if self.valid is None else self.valid[rows]

    def drop_first(self, columns: int) -> None:
        """Forget the first positions, which hold nothing but padding in every row."""
        if columns == 0:
            return
        for store in (self._keys, self._values):
            for layer, tensor in store.items():
                store[layer] = tensor.roll(-columns, dims=1)
        if self.valid is not None:
            self.valid = self.valid.roll(-columns, dims=1)
            self.valid[:, self.length - columns :] = True
        self.length -= columns


@dataclass(frozen=True)
class Pattern:
    """Who may attend to whom in one pass: a mask, or without one causal or everything.

    `boundaries` say the same as the mask where documents lie one after the other.
    """

    mask: Tensor | None
    causal: bool
    boundaries: Boundaries | None = None
    wanted: Tensor | None = None
    """Flat positions b * T + t, (n,) int64: all are attended to, only these go further."""

    def picked(self, x: Tensor) -> Tensor:
        """(B, T, D) -> the wanted positions, (n, D); all of x where nothing is named."""
        if self.wanted is None:
            return x
        rows: Tensor = _Picked.apply(x, self.wanted)
        return rows


class _Picked(torch.autograd.Function):
    """Indexing with a gradient that is copied: no position is named twice, nothing to add up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, wanted: Tensor) -> Tensor:
        ctx.save_for_backward(wanted)
        ctx.shape = x.shape
        return x.reshape(-1, x.shape[-1]).index_select(0, wanted)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (wanted,) = ctx.saved_tensors
        whole = grads[0].new_zeros(ctx.shape)
        whole.view(-1, ctx.shape[-1]).index_copy_(0, wanted, grads[0])
        return whole, None


class Attention(nn.Module):
    """Multi-head attention with G <= H key-value heads; optional rotation and QK-norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        *,
        bias: bool = False,
        qk_norm_epsilon: float | None = None,
        scale: float | None = None,
    ) -> None:
        """`scale` multiplies the scores; None is 1 / sqrt(head width)."""
        super().__init__()
        self.scale = scale
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width
        self.query = Linear(width, heads * head_width, bias=bias)
        self.key = Linear(width, kv_heads * head_width, bias=bias)
        self.value = Linear(width, kv_heads * head_width, bias=bias)
        self.output = Linear(heads * head_width, width, bias=bias)
        self.qk_norm_epsilon = qk_norm_epsilon
        self.query_norm = self.key_norm = None
        if qk_norm_epsilon is not None:
            self.query_norm = RMSNorm(head_width, qk_norm_epsilon)
            self.key_norm = RMSNorm(head_width, qk_norm_epsilon)

    def forward(
        self,
        x: Tensor,
        pattern: Pattern,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), or (n, D) where the pattern says which are wanted."""
        rows, length, _ = x.shape
        heads = joined(x, (self.query, self.key, self.value))  # (B, T, (H+2G)*K)
        if cache is None and pattern.boundaries is not None and self._fits_cpu(heads, rotation):
            return self.output(pattern.picked(self._cpu(heads, rotation, pattern.boundaries)))
        heads = heads.view(rows, length, -1, self.head_width)
        query, key, value = heads.split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if cache is not None:
            key, value = cache.append(layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),  # (B, H, T, K)
            key.transpose(1, 2),  # (B, G, S, K)
            value.transpose(1, 2),
            attn_mask=pattern.mask,
            is_causal=pattern.causal,
            scale=self.scale,
            enable_gqa=self.kv_heads != self.heads,
        )
        mixed = mixed.transpose(1, 2).reshape(rows, length, -1)
        return self.output(pattern.picked(mixed))

    def _fits_cpu(self, heads: Tensor, rotation: Rotation | None) -> bool:
        """Whether this is the case `cpu_attention` was made for: training, short rows."""
        rows, length, _ = heads.shape
        return (
            heads.device.type == "cpu"
            and heads.requires_grad
            and rows * self.heads * length * length <= MAX_SCORES
            and (rotation is None or rotation.cos.ndim == 3)
            and not torch.compiler.is_compiling()
        )

    def _cpu(self, heads: Tensor, rotation: Rotation | None, boundaries: Boundaries) -> Tensor:
        shape = Heads(self.heads, self.kv_heads, self.head_width, self.qk_norm_epsilon)
        query_weight = key_weight = None
        if self.query_norm is not None and self.key_norm is not None:
            query_weight = self.query_norm.weight.to(heads.dtype)
            key_weight = self.key_norm.weight.to(heads.dtype)
        return cpu_attention(heads, query_weight, key_weight, rotation, shape, boundaries)
