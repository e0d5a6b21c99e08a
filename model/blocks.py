"""Transformer blocks, norm first or norm last, and the head of masked language models.

B batch, T time, D width.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Attention, KVCache, Pattern
from model.layers import FeedForward, GatedFeedForward, Linear
from model.norms import LayerNorm, RMSNorm
from model.rotary import Rotation


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(
        self,
        attention_norm: RMSNorm | LayerNorm,
        attention: Attention,
        feed_forward_norm: RMSNorm | LayerNorm,
        feed_forward: FeedForward | GatedFeedForward,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def forward(
        self,
        x: Tensor,
        pattern: Pattern,
        rotation: Rotation | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), or (n, D) where the pattern says which are wanted."""
        mixed = self.attention(self.attention_norm(x), pattern, rotation, cache, layer)
        x = pattern.picked(x) + mixed
        return x + self.feed_forward(self.feed_forward_norm(x))


class PostNormBlock(Block):
    """The block of the transformer paper and of BERT: each sum is normed, not each input."""

    def forward(
        self,
        x: Tensor,
        pattern: Pattern,
        rotation: Rotation | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), or (n, D) where the pattern says which are wanted."""
        mixed = self.attention(x, pattern, rotation, cache, layer)
        x = self.attention_norm(pattern.picked(x) + mixed)
        return self.feed_forward_norm(x + self.feed_forward(x))


class HeadTransform(nn.Module):
    """What BERT does to a hidden state before the vocabulary's matrix: dense, GELU, norm."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.dense = Linear(width, width, bias=True)
        self.norm = LayerNorm(width, epsilon)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.norm(F.gelu(self.dense(hidden)))
