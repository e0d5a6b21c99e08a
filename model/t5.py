"""T5 in its version 1.1 (Raffel et al. 2020; Shazeer 2020 for the gates): source in, target out.

RMSNorm before every part, no biases, gated GELU, relative positions in buckets shared by a stack's
layers, scores that are not scaled, one table of embeddings for both sides. No dropout, as in the
pre-training of v1.1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from model.attention import Attention
from model.batch import AttentionPattern
from model.blocks import Block
from model.cross_attention import CrossAttention, DecoderBlock
from model.encoder_decoder import Encoder, EncoderDecoder
from model.language_model import ArchitectureConfig, Initialization
from model.layers import GatedFeedForward
from model.norms import RMSNorm
from model.relative_positions import RelativeBias
from model.settings import FORBID_EXTRA, check, setting

MULTIPLES = Initialization(std=1.0, embedding_std=1.0, head_std=1.0)


@dataclass(frozen=True)
class T5Config(ArchitectureConfig):
    """The defaults are t5-v1_1-small: 76,961,152 parameters."""

    kind: Literal["t5"] = "t5"
    vocab_size: int = setting(32128, "Number of token ids.", ge=1)
    context_length: int = setting(
        512, "Longest source and longest target in one pass, a symbol not counted.", ge=1
    )
    width: int = setting(512, "Width of the residual stream.", ge=1)
    layers: int = setting(8, "Blocks of the encoder.", ge=1)
    decoder_layers: int | None = setting(
        None, "Blocks of the decoder; null: as many as the encoder's.", ge=1
    )
    heads: int = setting(6, "Attention heads.", ge=1)
    head_width: int = setting(64, "Width of a head.", ge=1)
    hidden_width: int = setting(1024, "Feed-forward width.", ge=1)
    buckets: int = setting(32, "Rows of the table of relative positions.", ge=4)
    max_distance: int = setting(128, "Distance from which all share the last bucket.", ge=2)
    tied_head: bool = setting(
        False, "Use the embedding table as the head, its input scaled by 1/sqrt(width)."
    )
    norm_epsilon: float = setting(1e-6, "Added to the mean square.", gt=0.0)
    init: Initialization = setting(
        MULTIPLES, "Multiples of the standard deviations that T5's code draws the weights with."
    )
    attention: ClassVar[AttentionPattern] = "encoder-decoder"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.buckets % 4:
            raise ValueError(
                f"buckets={self.buckets} is not a multiple of 4: half for each direction, half of "
                "those one distance each"
            )
        if self.max_distance <= self.buckets // 2:
            raise ValueError(
                f"max_distance={self.max_distance} must exceed half of buckets={self.buckets}, "
                "which have a distance each"
            )

    @property
    def attention_width(self) -> int:
        """Heads times head width."""
        return self.heads * self.head_width

    @property
    def num_decoder_layers(self) -> int:
        """Blocks of the decoder."""
        return self.decoder_layers or self.layers

    def rotary_frequencies(self) -> Tensor | None:
        """None: positions are relative."""
        return None

    def assemble(self) -> EncoderDecoder:
        """The modules, weights uninitialised."""
        encoder = Encoder(
            [
                Block(self._norm(), self._attention(), self._norm(), self._feed_forward())
                for _ in range(self.layers)
            ],
            self._norm(),
            self._bias(bidirectional=True),
        )
        blocks = [
            DecoderBlock(
                self._norm(), self._attention(),
                self._norm(), CrossAttention(self.width, self.heads, self.head_width),
                self._norm(), self._feed_forward(),
            )
            for _ in range(self.num_decoder_layers)
        ]  # fmt: skip
        bias = self._bias(bidirectional=False)
        return EncoderDecoder(self, encoder, blocks, self._norm(), bias, tied_head=self.tied_head)

    def flops_per_token(self, *, predicted_share: float = 1.0) -> int:
        """Forward and backward per token of the source: 6 per weight and 12*L*H*K*T of attention.

        The decoder and the head work on `predicted_share` as many positions; the keys and values of
        the source are the encoder's share.
        """
        shapes = self.assemble_shapes()
        encoder = sum(n for name, n in shapes.items() if name.startswith("encoder.blocks."))
        read = sum(
            n for name, n in shapes.items()
            if name.endswith(("cross_attention.key.weight", "cross_attention.value.weight"))
        )  # fmt: skip
        decoder = sum(n for name, n in shapes.items() if name.startswith("blocks.")) - read
        head = self.vocab_size * self.width
        weights = encoder + read + predicted_share * (decoder + head)
        scores = self.layers + self.num_decoder_layers * (predicted_share + predicted_share**2)
        return round(6 * weights + 12 * scores * self.attention_width * self.context_length)

    def assemble_shapes(self) -> dict[str, int]:
        """How many numbers each matrix has, by name; nothing is allocated."""
        with torch.device("meta"):
            model = self.assemble()
        return {name: p.numel() for name, p in model.named_parameters() if p.ndim == 2}

    def _norm(self) -> RMSNorm:
        return RMSNorm(self.width, self.norm_epsilon)

    def _attention(self) -> Attention:
        return Attention(self.width, self.heads, self.heads, self.head_width, scale=1.0)

    def _feed_forward(self) -> GatedFeedForward:
        return GatedFeedForward(self.width, self.hidden_width, "gelu_tanh")

    def _bias(self, *, bidirectional: bool) -> RelativeBias:
        return RelativeBias(
            self.buckets, self.heads, self.max_distance, bidirectional=bidirectional
        )
