"""Transformer blocks, norm first or norm last, and the head of masked language models.

B batch, T time, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Attention, KVCache, Pattern
from model.layers import FeedForward, GatedFeedForward, Linear
from model.norms import LayerNorm, RMSNorm
from model.rotary import Rotation


class Block(nn.Module):
    """Pre-norm transformer block."""

    dropout: float = 0.0
    """Share of a branch's outputs that a training step drops; `LanguageModel.set_dropout`."""

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

    def dropped(self, x: Tensor) -> Tensor:
        """What a branch adds to the residual stream."""
        return dropped(x, self.dropout if self.training else 0.0)

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
        x = pattern.picked(x) + self.dropped(mixed)
        return x + self.dropped(self.feed_forward(self.feed_forward_norm(x)))


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
        x = self.attention_norm(pattern.picked(x) + self.dropped(mixed))
        return self.feed_forward_norm(x + self.dropped(self.feed_forward(x)))


def dropped(x: Tensor, rate: float) -> Tensor:
    """Each number at zero with probability `rate`, the others larger by 1 / (1 - rate).

    Hinton et al. 2012. Draws from the device's global generator, which the training loop seeds by
    step. Nothing is dropped where no gradient is computed: no evaluation, no generated text.
    """
    if rate == 0.0 or not torch.is_grad_enabled():
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate, training=True)
    # A random byte per number instead of a float: a third of the time, and rates of n / 256.
    lost = min(255, max(1, round(256 * rate)))
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(1 << 63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= lost
    return x * kept.to(x.dtype) * (256 / (256 - lost))


class HeadTransform(nn.Module):
    """What BERT does to a hidden state before the vocabulary's matrix: dense, GELU, norm."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.dense = Linear(width, width, bias=True)
        self.norm = LayerNorm(width, epsilon)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.norm(F.gelu(self.dense(hidden)))
