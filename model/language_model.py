"""The decoder every architecture is an instance of: embed, add positions, blocks, norm, head.

    inputs (B, T) -> embedding (B, T, D) -> [x + attention(norm(x)), x + feed_forward(norm(x))] * L
                  -> norm -> hidden (B, T, D) -> head -> logits (B, T, V)

B batch, T time, D width, V vocabulary. Weights are float32; activations are in `compute_dtype`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Attention, KVCache, Pattern, packed_causal_mask
from model.cpu_attention import Boundaries, document_boundaries
from model.errors import ContextLengthError
from model.layers import (
    Embedding,
    FeedForward,
    GatedFeedForward,
    Linear,
    segment_positions,
    sinusoidal_positions,
)
from model.norms import LayerNorm, RMSNorm
from model.rotary import Rotation, rotation_tables
from model.settings import FORBID_EXTRA, check, setting

Role = Literal["matrix", "embedding", "head", "vector"]
ComputeDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Initialization:
    """Where training starts: standard deviations of the normal draws."""

    std: float = setting(0.02, "Matrices inside the blocks.", ge=0.0)  # GPT-2
    embedding_std: float = setting(0.02, "Token and position embeddings.", ge=0.0)  # GPT-2
    head_std: float = setting(0.02, "The untied head; 0 starts at uniform predictions.", ge=0.0)
    zero_outputs: bool = setting(
        False, "Start the output projections of attention and feed-forward at zero."
    )
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


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
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attention(self.attention_norm(x), pattern, rotation, cache, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))


class LanguageModel(nn.Module):
    """A decoder-only language model; built by `config.build()`."""

    position_table: Tensor | None
    cos: Tensor | None
    sin: Tensor | None

    def __init__(
        self,
        config: "DecoderConfig",
        blocks: Sequence[Block],
        norm: RMSNorm | LayerNorm,
        *,
        tied_head: bool,
        learned_positions: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.embedding = Embedding(config.vocab_size, config.width)
        self.position_embedding = (
            Embedding(config.context_length, config.width) if learned_positions else None
        )
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = None if tied_head else Linear(config.width, config.vocab_size)
        for table in ("position_table", "cos", "sin"):
            self.register_buffer(table, None, persistent=False)

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the head's matrix, or the embedding table where they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def forward(
        self, inputs: Tensor, positions: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits <- very big tensor; training uses `hidden`."""
        hidden = self.hidden(inputs, positions, segment_ids)
        return F.linear(hidden, self.head_weight.to(hidden.dtype))

    def hidden(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
        embedding_noise: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D) what the head multiplies.

        `segment_ids` (B, T): tokens attend only within equal ids, 0 is padding; None is one
        document per row. `positions` (B, T) default to restarting with every segment. With a
        `cache` the inputs continue what it holds and `segment_ids` may only mark padding.
        `embedding_noise` (B, T, D) is added to the embeddings, for regularisation.
        Raises ContextLengthError beyond `config.context_length`.
        """
        length, seen = inputs.shape[1], 0 if cache is None else cache.length
        if seen + length > self.config.context_length:
            raise ContextLengthError(
                f"{seen + length} tokens exceed the model's context_length="
                f"{self.config.context_length}; shorten the input or train with a longer context"
            )
        pattern = self._pattern(length, segment_ids, cache)
        if positions is None and segment_ids is not None and cache is None:
            positions = segment_positions(segment_ids)
        x = self.embedding(inputs)  # (B, T, D) float32
        if embedding_noise is not None:
            x = x + embedding_noise
        offset = self._offset(positions, seen, length)
        x = (x if offset is None else x + offset).to(self.compute_dtype)
        if positions is not None and cache is None and _steps_by_one(positions, segment_ids):
            positions = None
        rotation = self._rotation(positions, seen, length)
        for layer, block in enumerate(self.blocks):
            x = block(x, pattern, rotation, cache, layer)
        if cache is not None:
            cache.length += length
        return self.norm(x)

    def _pattern(self, length: int, segment_ids: Tensor | None, cache: KVCache | None) -> Pattern:
        dtype, device = self.compute_dtype, self.device
        if cache is not None:
            if segment_ids is not None:
                cache.mark(segment_ids != 0)
            if cache.length == 0 and cache.valid is None:
                return Pattern(None, causal=length > 1)
            return Pattern(cache.mask(length, dtype, device), causal=False)
        if segment_ids is None:
            return Pattern(None, causal=True, boundaries=Boundaries(()))
        boundaries = None
        if device.type == "cpu":  # elsewhere looking would stall the device
            boundaries = document_boundaries(segment_ids)
            if boundaries == Boundaries(()):
                return Pattern(None, causal=True, boundaries=boundaries)
        return Pattern(packed_causal_mask(segment_ids, dtype), causal=False, boundaries=boundaries)

    def _offset(self, positions: Tensor | None, seen: int, length: int) -> Tensor | None:
        """What absolute positions add to the embedding: (T, D) or (B, T, D)."""
        table = self.position_table
        if self.position_embedding is not None:
            table = self.position_embedding.weight
        if table is None:
            return None
        return table[seen : seen + length] if positions is None else F.embedding(positions, table)

    def _rotation(self, positions: Tensor | None, seen: int, length: int) -> Rotation | None:
        if self.cos is None or self.sin is None:
            return None
        where = slice(seen, seen + length) if positions is None else positions
        cos, sin = self.cos[where].unsqueeze(-2), self.sin[where].unsqueeze(-2)
        return Rotation(cos.to(self.compute_dtype), sin.to(self.compute_dtype))

    def role(self, name: str, parameter: nn.Parameter) -> Role:
        """What a named parameter is, for weight decay and Muon."""
        if name in ("embedding.weight", "position_embedding.weight"):
            return "embedding"
        if name == "head.weight":
            return "head"
        return "matrix" if parameter.ndim == 2 else "vector"

    def num_parameters(self) -> int:
        """All parameters, a tied head counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initialize(self, seed: int) -> None:
        """Draw all weights from `seed`: the same on every device."""
        init, generator = self.config.init, torch.Generator().manual_seed(seed)
        residual_std = init.std / math.sqrt(2 * self.config.layers)  # GPT-2, section 2.3
        stds = {"embedding": init.embedding_std, "head": init.head_std, "matrix": init.std}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                role = self.role(name, parameter)
                if role == "vector":
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                    continue
                std = stds[role]
                if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
                    std = 0.0 if init.zero_outputs else residual_std
                draw = torch.empty(parameter.shape).normal_(0.0, 1.0, generator=generator)
                parameter.copy_(draw.mul_(std))

    def fill_tables(self, device: torch.device | str) -> None:
        """Compute what is fixed: sinusoidal positions, the rotation's cosines and sines."""
        length, width = self.config.context_length, self.config.width
        if self.config.sinusoidal:
            self.position_table = sinusoidal_positions(length, width).to(device)
        frequencies = self.config.rotary_frequencies()
        if frequencies is not None:
            self.cos, self.sin = (t.to(device) for t in rotation_tables(length, frequencies))


class DecoderConfig(ABC):
    """What every architecture's settings have and can do."""

    vocab_size: int
    context_length: int
    width: int
    layers: int
    init: Initialization
    sinusoidal: bool = False

    @property
    @abstractmethod
    def attention_width(self) -> int:
        """Heads times head width."""

    @abstractmethod
    def assemble(self) -> LanguageModel:
        """The modules, weights uninitialised."""

    @abstractmethod
    def rotary_frequencies(self) -> Tensor | None:
        """(K/2,) angles per position; None without rotary positions."""

    def build(
        self,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        compute_dtype: ComputeDtype = "float32",
    ) -> LanguageModel:
        """A model with weights drawn from `seed`: the same on every device."""
        model = self.build_empty(device=device, compute_dtype=compute_dtype)
        model.initialize(seed)
        return model

    def build_empty(
        self, *, device: torch.device | str = "cpu", compute_dtype: ComputeDtype = "float32"
    ) -> LanguageModel:
        """A model whose weights are yet to be loaded."""
        with torch.device("meta"):
            model = self.assemble()
        model.to_empty(device=device)
        model.fill_tables(device)
        model.compute_dtype = getattr(torch, compute_dtype)
        return model

    def num_parameters(self) -> int:
        """All parameters, a tied head counted once; nothing is allocated."""
        with torch.device("meta"):
            return self.assemble().num_parameters()

    def flops_per_token(self) -> int:
        """Forward and backward: 6 per weight of blocks and head, 12*L*H*K*T of attention (PaLM)."""
        with torch.device("meta"):
            model = self.assemble()
        matrices = sum(
            parameter.numel()
            for name, parameter in model.named_parameters()
            if model.role(name, parameter) == "matrix"
        )
        weights = matrices + model.head_weight.numel()
        attention = 12 * self.layers * self.attention_width * self.context_length
        return 6 * weights + attention


def _steps_by_one(positions: Tensor, segment_ids: Tensor | None) -> bool:
    """Whether positions count up within segments, so that rotations may count through the row.

    A rotation acts through differences of positions within a segment only. Asked on the CPU alone:
    elsewhere looking would stall the device.
    """
    if positions.device.type != "cpu":
        return False
    steps = positions[:, 1:] - positions[:, :-1] == 1
    if segment_ids is not None:
        steps |= (segment_ids[:, 1:] != segment_ids[:, :-1]) | (segment_ids[:, 1:] == 0)
    return bool(steps.all())
