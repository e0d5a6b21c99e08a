"""The trunk every architecture is an instance of: embed, add positions, blocks, norm, head.

    decoder  inputs (B, T) -> embedding (B, T, D) -> L * [x + attention(norm(x)),
             x + feed_forward(norm(x))] -> norm -> hidden (B, T, D) -> head -> logits (B, T, V)
    encoder  inputs (B, T) -> norm(embedding) (B, T, D) -> L * [norm(x + attention(x)),
             norm(x + feed_forward(x))] -> hidden -> dense, GELU, norm -> head + bias -> logits

B batch, T time, D width, V vocabulary. Weights are float32; activations are in `compute_dtype`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.attention import KVCache, Pattern, document_mask, packed_causal_mask
from model.batch import AttentionPattern, Source
from model.blocks import Block, HeadTransform, dropped
from model.cpu_attention import Boundaries, document_boundaries
from model.errors import ContextLengthError, ModelError
from model.layers import Embedding, Linear, segment_positions, sinusoidal_positions
from model.norms import LayerNorm, RMSNorm
from model.rotary import Rotation, rotation_tables
from model.settings import FORBID_EXTRA, check, setting

Role = Literal["matrix", "embedding", "head", "vector"]
ComputeDtype = Literal["float32", "bfloat16"]
SOFTCAP = "Logits become cap * tanh(logits / cap); null: no cap. No export then: no family has it."


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


class LanguageModel(nn.Module):
    """A language model; built by `config.build()`."""

    position_table: Tensor | None
    cos: Tensor | None
    sin: Tensor | None

    def __init__(
        self,
        config: "ArchitectureConfig",
        blocks: Sequence[Block],
        norm: RMSNorm | LayerNorm | None,
        *,
        tied_head: bool,
        learned_positions: bool = False,
        token_types: int = 0,
        embedding_norm: LayerNorm | None = None,
        head_transform: HeadTransform | None = None,
    ) -> None:
        """`norm` comes after the blocks; post-norm blocks need none.

        `token_types` rows are added by type, `embedding_norm` norms the sum of the embeddings. A
        `head_transform` brings a bias of the head with it.
        """
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.recompute = False
        """Whether training computes blocks again in the backward pass instead of keeping them."""
        self.dropout = 0.0
        self.embedding = Embedding(config.vocab_size, config.width)
        self.position_embedding = (
            Embedding(config.context_length, config.width) if learned_positions else None
        )
        self.type_embedding = Embedding(token_types, config.width) if token_types else None
        self.embedding_norm = embedding_norm
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = None if tied_head else Linear(config.width, config.vocab_size)
        self.head_transform = head_transform
        self.head_bias = (
            None if head_transform is None else nn.Parameter(torch.empty(config.vocab_size))
        )
        for table in ("position_table", "cos", "sin"):
            self.register_buffer(table, None, persistent=False)

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the head's matrix, or the embedding table where they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def all_blocks(self) -> list[nn.Module]:
        """Every block there is: what is spread over processes one at a time."""
        return list(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits <- very big tensor; training uses `hidden`."""
        return self.logits(self.hidden(inputs, positions, segment_ids, type_ids=type_ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) of `hidden` -> (..., V), soft-capped where the architecture says so."""
        features = self.features(hidden)
        bias = None if self.head_bias is None else self.head_bias.to(features.dtype)
        logits = F.linear(features, self.head_weight.to(features.dtype), bias)
        cap = self.config.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def features(self, hidden: Tensor) -> Tensor:
        """(..., D) of `hidden` -> (..., D) what the head's matrix multiplies."""
        return hidden if self.head_transform is None else self.head_transform(hidden)

    def hidden(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
        embedding_noise: Tensor | None = None,
        type_ids: Tensor | None = None,
        wanted: Tensor | None = None,
        source: Source | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D); `logits` makes predictions of it.

        `segment_ids` (B, T): tokens attend only within equal ids, 0 is padding; None is one
        document per row. `positions` (B, T) default to restarting with every segment. With a
        `cache` the inputs continue what it holds and `segment_ids` may only mark padding.
        `embedding_noise` (B, T, D) is added to the embeddings, for regularisation. `type_ids`
        (B, T) choose a row of the type embedding (BERT's first and second text), by default row 0.
        `wanted` (n,) int64 names flat positions b * T + t, each once: the result is theirs, (n, D),
        and the last block spares the others its feed-forward network.
        Raises ContextLengthError beyond `config.context_length`, ModelError for a `source`, which
        only an encoder-decoder reads.
        """
        if source is not None:
            raise ModelError(
                f"{type(self.config).__name__} has no encoder beside its decoder and reads no "
                "source; put it before the target, or use a t5"
            )
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
        x = x if offset is None else x + offset
        if self.type_embedding is not None:
            x = x + (
                self.type_embedding.weight[0] if type_ids is None else self.type_embedding(type_ids)
            )
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = dropped(x.to(self.compute_dtype), self.dropout if self.training else 0.0)
        if positions is not None and cache is None and _steps_by_one(positions, segment_ids):
            positions = None
        rotation = self._rotation(positions, seen, length)
        recompute = self.recompute and cache is None and torch.is_grad_enabled()
        for layer, block in enumerate(self.blocks):
            if wanted is not None and layer == len(self.blocks) - 1:
                pattern = replace(pattern, wanted=wanted)
            if recompute:
                x = checkpoint(
                    block, x, pattern, rotation, cache, layer,
                    use_reentrant=False, preserve_rng_state=self.dropout > 0.0,
                )  # fmt: skip
            else:
                x = block(x, pattern, rotation, cache, layer)
        if cache is not None:
            cache.length += length
        return x if self.norm is None else self.norm(x)

    def set_dropout(self, rate: float) -> None:
        """Drop this share of the embeddings and of every branch's output in training (nanoGPT's).

        No part of the architecture: it is 0 in a model that was loaded, and in evaluation.
        """
        self.dropout = rate
        for block in self.all_blocks:
            assert isinstance(block, Block)
            block.dropout = rate

    def _pattern(self, length: int, segment_ids: Tensor | None, cache: KVCache | None) -> Pattern:
        dtype, device = self.compute_dtype, self.device
        causal = self.config.attention == "causal"
        if cache is not None:
            if not causal:
                raise ModelError(
                    f"{type(self.config).__name__} reads a text from both sides and cannot "
                    "continue it; ask it for masked tokens, or use a decoder"
                )
            if segment_ids is not None:
                cache.mark(segment_ids != 0)
            if cache.length == 0 and cache.valid is None:
                return Pattern(None, causal=length > 1)
            return Pattern(cache.mask(length, dtype, device), causal=False)
        if segment_ids is None:
            return Pattern(None, causal=causal, boundaries=Boundaries((), causal))
        boundaries = None
        if device.type == "cpu":  # elsewhere looking would stall the device
            boundaries = document_boundaries(segment_ids, causal=causal)
            if boundaries == Boundaries((), causal):
                return Pattern(None, causal=causal, boundaries=boundaries)
        mask = packed_causal_mask if causal else document_mask
        return Pattern(mask(segment_ids, dtype), causal=False, boundaries=boundaries)

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
        if name in ("embedding.weight", "position_embedding.weight", "type_embedding.weight"):
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


class ArchitectureConfig(ABC):
    """What every architecture's settings have and can do."""

    vocab_size: int
    context_length: int
    width: int
    layers: int
    init: Initialization
    sinusoidal: bool = False
    logit_softcap: float | None = None
    attention: ClassVar[AttentionPattern] = "causal"

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

    def flops_per_token(self, *, predicted_share: float = 1.0) -> int:
        """Forward and backward: 6 per weight of blocks and head, 12*L*H*K*T of attention (PaLM).

        The head works on `predicted_share` of the positions: all in causal training.
        """
        with torch.device("meta"):
            model = self.assemble()
        matrices = {
            name: parameter.numel()
            for name, parameter in model.named_parameters()
            if model.role(name, parameter) == "matrix"
        }
        blocks = sum(count for name, count in matrices.items() if name.startswith("blocks."))
        head = sum(matrices.values()) - blocks + model.head_weight.numel()
        attention = 12 * self.layers * self.attention_width * self.context_length
        return round(6 * (blocks + predicted_share * head)) + attention


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
