"""BERT (Devlin et al. 2018): an encoder that predicts hidden tokens from both sides.

Token, position and type embeddings, post-norm blocks, exact (erf) GELU, biases everywhere; the head
is dense, GELU, norm, the embedding table and a bias. No pooler: it belongs to next-sentence
prediction, which RoBERTa found useless. Dropout is a setting of the run (`set_dropout`), 0 unless
text is repeated often.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from model.attention import Attention
from model.batch import AttentionPattern
from model.blocks import HeadTransform, PostNormBlock
from model.language_model import ArchitectureConfig, Initialization, LanguageModel
from model.layers import FeedForward
from model.norms import LayerNorm
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class BertConfig(ArchitectureConfig):
    """The defaults are bert-base-uncased with its masked-LM head: 109,514,298 parameters."""

    kind: Literal["bert"] = "bert"
    vocab_size: int = setting(30522, "Number of token ids.", ge=1)
    context_length: int = setting(512, "Longest sequence in one pass.", ge=1)
    width: int = setting(768, "Width of the residual stream.", ge=1)
    layers: int = setting(12, "Number of blocks.", ge=1)
    heads: int = setting(12, "Attention heads; they share the width.", ge=1)
    hidden_width: int = setting(3072, "Feed-forward width.", ge=1)
    token_types: int = setting(2, "Rows of the type embedding; training uses the first.", ge=1)
    norm_epsilon: float = setting(1e-12, "Added to the variance.", gt=0.0)
    init: Initialization = field(default_factory=Initialization)
    attention: ClassVar[AttentionPattern] = "bidirectional"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not a multiple of heads={self.heads}")

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
            PostNormBlock(
                LayerNorm(self.width, self.norm_epsilon),
                Attention(self.width, self.heads, self.heads, self.width // self.heads, bias=True),
                LayerNorm(self.width, self.norm_epsilon),
                FeedForward(self.width, self.hidden_width, bias=True, approximate="none"),
            )
            for _ in range(self.layers)
        ]
        return LanguageModel(
            self,
            blocks,
            None,
            tied_head=True,
            learned_positions=True,
            token_types=self.token_types,
            embedding_norm=LayerNorm(self.width, self.norm_epsilon),
            head_transform=HeadTransform(self.width, self.norm_epsilon),
        )
