"""GPT-2 (Radford et al. 2019): LayerNorm, tanh GELU, absolute positions, tied head."""

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
from model.layers import FeedForward
from model.norms import LayerNorm
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class GPT2Config(ArchitectureConfig):
    """The defaults are GPT-2 small: 124,439,808 parameters."""

    kind: Literal["gpt2"] = "gpt2"
    vocab_size: int = setting(50257, "Number of token ids.", ge=1)
    context_length: int = setting(1024, "Longest sequence in one pass.", ge=1)
    width: int = setting(768, "Width of the residual stream.", ge=1)
    layers: int = setting(12, "Number of blocks.", ge=1)
    heads: int = setting(12, "Attention heads; they share the width.", ge=1)
    hidden_width: int | None = setting(None, "Feed-forward width; None is 4 * width.", ge=1)
    positions: Literal["learned", "sinusoidal"] = setting(
        "learned", "Trained position vectors, or the fixed sinusoids of the transformer paper."
    )
    activation: Literal["gelu_tanh", "gelu"] = setting(
        "gelu_tanh",
        "GELU as GPT-2 approximates it, or exact: 5 times as fast on a CPU in bfloat16.",
    )
    bias: bool = setting(True, "Biases in linear maps and norms.")
    tied_head: bool = setting(True, "Use the embedding table as the head.")
    norm_epsilon: float = setting(1e-5, "Added to the variance.", gt=0.0)
    logit_softcap: float | None = setting(None, SOFTCAP, gt=0.0)
    init: Initialization = field(default_factory=Initialization)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not a multiple of heads={self.heads}")

    @property
    def sinusoidal(self) -> bool:  # type: ignore[override]
        """Whether positions are the fixed sinusoids."""
        return self.positions == "sinusoidal"

    @property
    def attention_width(self) -> int:
        """Heads times head width."""
        return self.width

    def rotary_frequencies(self) -> Tensor | None:
        """None: positions are absolute."""
        return None

    def assemble(self) -> LanguageModel:
        """The modules, weights uninitialised."""
        blocks = [
            Block(
                LayerNorm(self.width, self.norm_epsilon, bias=self.bias),
                Attention(
                    self.width, self.heads, self.heads, self.width // self.heads, bias=self.bias
                ),
                LayerNorm(self.width, self.norm_epsilon, bias=self.bias),
                FeedForward(
                    self.width,
                    self.hidden_width or 4 * self.width,
                    bias=self.bias,
                    approximate="tanh" if self.activation == "gelu_tanh" else "none",
                ),
            )
            for _ in range(self.layers)
        ]
        return LanguageModel(
            self,
            blocks,
            LayerNorm(self.width, self.norm_epsilon, bias=self.bias),
            tied_head=self.tied_head,
            learned_positions=self.positions == "learned",
        )
