"""Llama (Touvron et al. 2023): rotary positions, RMSNorm, gated feed-forward, grouped heads."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from model.attention import Attention
from model.blocks import Block
from model.language_model import (
    SOFTCAP,
    ArchitectureConfig,
    Initialization,
    LanguageModel,
)
from model.layers import GatedFeedForward
from model.norms import RMSNorm
from model.rotary import Llama3RopeScaling, inverse_frequencies
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class LlamaConfig(ArchitectureConfig):
    """The defaults are the shape of Llama-3.2-1B without its context stretching."""

    kind: Literal["llama"] = "llama"
    vocab_size: int = setting(128256, "Number of token ids.", ge=1)
    context_length: int = setting(2048, "Longest sequence in one pass.", ge=1)
    width: int = setting(2048, "Width of the residual stream.", ge=1)
    layers: int = setting(16, "Number of blocks.", ge=1)
    heads: int = setting(32, "Query heads.", ge=1)
    kv_heads: int = setting(8, "Key and value heads; divides heads.", ge=1)
    head_width: int | None = setting(None, "Width of a head; None is width / heads.", ge=2)
    hidden_width: int = setting(8192, "Feed-forward width.", ge=1)
    rope_theta: float = setting(500_000.0, "Base of the rotary wavelengths.", gt=1.0)
    rope_scaling: Llama3RopeScaling | None = setting(None, "Llama 3.1's stretched context.")
    tied_head: bool = setting(True, "Use the embedding table as the head.")
    norm_epsilon: float = setting(1e-5, "Added to the mean square.", gt=0.0)
    logit_softcap: float | None = setting(None, SOFTCAP, gt=0.0)
    init: Initialization = field(default_factory=Initialization)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        check_heads(self.width, self.heads, self.kv_heads, self.head_width)

    @property
    def attention_width(self) -> int:
        """Heads times head width."""
        return self.heads * (self.head_width or self.width // self.heads)

    def rotary_frequencies(self) -> Tensor | None:
        """(K/2,) angles per position."""
        return inverse_frequencies(
            self.attention_width // self.heads, self.rope_theta, self.rope_scaling
        )

    def assemble(self) -> LanguageModel:
        """The modules, weights uninitialised."""
        blocks = [
            Block(
                RMSNorm(self.width, self.norm_epsilon),
                Attention(
                    self.width, self.heads, self.kv_heads, self.attention_width // self.heads
                ),
                RMSNorm(self.width, self.norm_epsilon),
                GatedFeedForward(self.width, self.hidden_width, "silu"),
            )
            for _ in range(self.layers)
        ]
        norm = RMSNorm(self.width, self.norm_epsilon)
        return LanguageModel(self, blocks, norm, tied_head=self.tied_head)


def check_heads(width: int, heads: int, kv_heads: int, head_width: int | None) -> None:
    """ValueError unless the heads share the width, are even and fall into groups."""
    if head_width is None and width % heads:
        raise ValueError(
            f"width={width} is not a multiple of heads={heads}; change one or set head_width"
        )
    if (head_width or width // heads) % 2:
        raise ValueError(
            f"head width {head_width or width // heads} is odd; rotary positions need pairs"
        )
    if heads % kv_heads:
        raise ValueError(f"heads={heads} is not a multiple of kv_heads={kv_heads}")
