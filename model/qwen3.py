"""Qwen3 (Yang et al. 2025): Llama with an RMSNorm on every query and key head."""

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
from model.layers import Activation, GatedFeedForward
from model.llama import check_heads
from model.norms import RMSNorm
from model.rotary import inverse_frequencies
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class Qwen3Config(ArchitectureConfig):
    """The defaults are the shape of Qwen3-0.6B: 596,049,920 parameters."""

    kind: Literal["qwen3"] = "qwen3"
    vocab_size: int = setting(151936, "Number of token ids.", ge=1)
    context_length: int = setting(2048, "Longest sequence in one pass.", ge=1)
    width: int = setting(1024, "Width of the residual stream.", ge=1)
    layers: int = setting(28, "Number of blocks.", ge=1)
    heads: int = setting(16, "Query heads.", ge=1)
    kv_heads: int = setting(8, "Key and value heads; divides heads.", ge=1)
    head_width: int | None = setting(128, "Width of a head; None is width / heads.", ge=2)
    hidden_width: int = setting(3072, "Feed-forward width.", ge=1)
    hidden_act: Activation = setting("silu", "Activation of the gate: silu, or relu squared.")
    rope_theta: float = setting(1_000_000.0, "Base of the rotary wavelengths.", gt=1.0)
    tied_head: bool = setting(True, "Use the embedding table as the head.")
    norm_epsilon: float = setting(1e-6, "Added to the mean square.", gt=0.0)
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
        return inverse_frequencies(self.attention_width // self.heads, self.rope_theta)

    def assemble(self) -> LanguageModel:
        """The modules, weights uninitialised."""
        blocks = [
            Block(
                RMSNorm(self.width, self.norm_epsilon),
                Attention(
                    self.width,
                    self.heads,
                    self.kv_heads,
                    self.attention_width // self.heads,
                    qk_norm_epsilon=self.norm_epsilon,
                ),
                RMSNorm(self.width, self.norm_epsilon),
                GatedFeedForward(self.width, self.hidden_width, self.hidden_act),
            )
            for _ in range(self.layers)
        ]
        norm = RMSNorm(self.width, self.norm_epsilon)
        return LanguageModel(self, blocks, norm, tied_head=self.tied_head)
