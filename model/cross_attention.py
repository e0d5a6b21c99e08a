"""What a decoder adds to read a source: attention to the encoder's output, and a cache of it.

B batch, T target positions, S source positions, H heads, K head width, D width.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Attention, KVCache, Pattern
from model.blocks import Block
from model.layers import GatedFeedForward, Linear
from model.norms import RMSNorm
from model.rotary import Rotation

KeysValues = tuple[Tensor, Tensor]
"""(B, H, S, K) each."""


class CrossAttention(nn.Module):
    """Queries from the target, keys and values from the source; no positions, no scaling (T5)."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.query = Linear(width, heads * head_width)
        self.key = Linear(width, heads * head_width)
        self.value = Linear(width, heads * head_width)
        self.output = Linear(heads * head_width, width)

    def keys_values(self, encoded: Tensor) -> KeysValues:
        """(B, S, D) -> what every target position attends to; once per source."""
        return self._by_head(self.key(encoded)), self._by_head(self.value(encoded))

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` is additive, (B, 1, T or 1, S)."""
        rows, length, _ = x.shape
        query = self._by_head(self.query(x))
        mixed = F.scaled_dot_product_attention(query, *memory, attn_mask=mask, scale=1.0)
        return self.output(mixed.transpose(1, 2).reshape(rows, length, -1))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, self.head_width).transpose(1, 2)


class DecoderBlock(Block):
    """Pre-norm block with a look at the source between self-attention and feed-forward."""

    def __init__(
        self,
        attention_norm: RMSNorm,
        attention: Attention,
        cross_attention_norm: RMSNorm,
        cross_attention: CrossAttention,
        feed_forward_norm: RMSNorm,
        feed_forward: GatedFeedForward,
    ) -> None:
        super().__init__(attention_norm, attention, feed_forward_norm, feed_forward)
        self.cross_attention_norm = cross_attention_norm
        self.cross_attention = cross_attention

    def forward(
        self,
        x: Tensor,
        pattern: Pattern,
        rotation: Rotation | None,
        cache: KVCache | None,
        layer: int,
        source: Tensor | KeysValues | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D). `source`: the encoder's output, or its keys and values here."""
        assert source is not None
        mixed = self.attention(self.attention_norm(x), pattern, rotation, cache, layer)
        x = x + self.dropped(mixed)
        memory = self.cross_attention.keys_values(source) if isinstance(source, Tensor) else source
        mixed = self.cross_attention(self.cross_attention_norm(x), memory, source_mask)
        x = x + self.dropped(mixed)
        return x + self.dropped(self.feed_forward(self.feed_forward_norm(x)))


@dataclass
class SourceCache(KVCache):
    """The cache of a decoder that reads a source: the source's keys and values beside its own."""

    memory: list[KeysValues] = field(default_factory=list)
    """One pair per layer of the decoder."""
    memory_mask: Tensor | None = None
    """(B, 1, 1, S) additive; None where no source is padded."""

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, of the source too."""
        super().keep_rows(rows)
        self.memory = [(keys[rows], values[rows]) for keys, values in self.memory]
        self.memory_mask = None if self.memory_mask is None else self.memory_mask[rows]
