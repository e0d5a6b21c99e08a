"""An encoder that reads a source and a decoder that writes a target while looking at it.

    source (B, S) -> embedding -> L * [x + attention(norm(x)), x + feed_forward(norm(x))] -> norm
                         |                                                                 |
    inputs (B, T) -> the same table -> M * [x + causal attention, x + cross attention <----'
                                            x + feed_forward] -> norm -> hidden (B, T, D) -> head

Teacher forcing: `inputs` are the start symbol and the true target up to its last token but one, so
that all T predictions are made in one pass. Generating, the encoder runs once (`read`), and the
decoder goes on from its cache.

B batch, T target positions, S source positions, H heads, D width, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import KVCache, Pattern, document_mask, packed_causal_mask, sequence_mask
from model.batch import Source
from model.blocks import Block, dropped
from model.cross_attention import DecoderBlock, KeysValues, SourceCache
from model.errors import ContextLengthError, ModelError
from model.language_model import ArchitectureConfig, LanguageModel, Role
from model.norms import RMSNorm
from model.relative_positions import RelativeBias


class Encoder(nn.Module):
    """The stack that reads the source, without the table of embeddings, which both sides share."""

    def __init__(self, blocks: Sequence[Block], norm: RMSNorm, position_bias: RelativeBias) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.position_bias = position_bias


@dataclass(frozen=True)
class _Read:
    """A source as the decoder sees it: the encoder's output, or a pair for each of its layers."""

    memory: Tensor | Sequence[KeysValues]
    mask: Tensor | None

    def of_layer(self, layer: int) -> Tensor | KeysValues:
        return self.memory if isinstance(self.memory, Tensor) else self.memory[layer]


class EncoderDecoder(LanguageModel):
    """An encoder-decoder; built by `config.build()`. `blocks` are those of the decoder."""

    def __init__(
        self,
        config: ArchitectureConfig,
        encoder: Encoder,
        blocks: Sequence[DecoderBlock],
        norm: RMSNorm,
        position_bias: RelativeBias,
        *,
        tied_head: bool,
    ) -> None:
        super().__init__(config, blocks, norm, tied_head=tied_head)
        self.encoder = encoder
        self.position_bias = position_bias

    @property
    def all_blocks(self) -> list[nn.Module]:
        """Every block there is, the encoder's first."""
        return [*self.encoder.blocks, *self.blocks]

    def features(self, hidden: Tensor) -> Tensor:
        """(..., D); a tied head gets them scaled by 1/sqrt(D) (Raffel et al. 2020, their code)."""
        return hidden * self.config.width**-0.5 if self.head is None else hidden

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
        source: Source | None = None,
    ) -> Tensor:
        """(B, T) token ids and their source -> (B, T, V) logits <- very big tensor."""
        hidden = self.hidden(inputs, positions, segment_ids, type_ids=type_ids, source=source)
        return self.logits(hidden)

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
        """(B, T) token ids -> (B, T, D), or (n, D) of the flat positions `wanted`.

        `source` is read first; with a cache from `read` it is there already. A target position sees
        the source positions of its own segment, and of the target what stands before it there.
        `positions` change nothing, as distances are relative; there are no types of tokens.
        """
        read = self._read(source, segment_ids, cache)
        seen = 0 if cache is None else cache.length
        self._check_length("target", seen + inputs.shape[1])
        mask = self._target_mask(inputs.shape[1], segment_ids, cache)
        x = self.embedding(inputs)  # (B, T, D) float32
        if embedding_noise is not None:
            x = x + embedding_noise
        x = dropped(x.to(self.compute_dtype), self.dropout if self.training else 0.0)
        recompute = self.recompute and cache is None and torch.is_grad_enabled()
        pattern = Pattern(mask, causal=False)
        for layer, block in enumerate(self.blocks):
            memory = read.of_layer(layer)
            if recompute:
                x = checkpoint(
                    block, x, pattern, None, cache, layer, memory, read.mask,
                    use_reentrant=False, preserve_rng_state=self.dropout > 0.0,
                )  # fmt: skip
            else:
                x = block(x, pattern, None, cache, layer, memory, read.mask)
        if cache is not None:
            cache.length += inputs.shape[1]
        assert self.norm is not None
        x = self.norm(x)
        return x if wanted is None else x.reshape(-1, x.shape[-1]).index_select(0, wanted)

    def encode(self, source: Source) -> Tensor:
        """(B, S) token ids -> (B, S, D); padding, segment 0, changes nothing but itself."""
        self._check_length("source", source.inputs.shape[1])
        length = source.inputs.shape[1]
        mask = self.encoder.position_bias(length, length).to(self.compute_dtype)
        mask = mask + document_mask(source.segment_ids, self.compute_dtype)  # (B, H, S, S)
        x = self.embedding(source.inputs).to(self.compute_dtype)
        x = dropped(x, self.dropout if self.training else 0.0)
        pattern = Pattern(mask, causal=False)
        recompute = self.recompute and torch.is_grad_enabled()
        for layer, block in enumerate(self.encoder.blocks):
            if recompute:
                x = checkpoint(
                    block, x, pattern, None, None, layer,
                    use_reentrant=False, preserve_rng_state=self.dropout > 0.0,
                )  # fmt: skip
            else:
                x = block(x, pattern, None, None, layer)
        encoded: Tensor = self.encoder.norm(x)
        return encoded

    @torch.no_grad()
    def read(self, sources: Sequence[Sequence[int]], max_tokens: int) -> SourceCache:
        """Run the encoder once; the cache from which `max_tokens` of the targets are decoded.

        Sources of several lengths are padded; that changes no row. ModelError for an empty one.
        """
        longest = max(map(len, sources), default=0)
        inputs = torch.zeros(len(sources), longest, dtype=torch.int64)
        valid = torch.zeros(len(sources), longest, dtype=torch.int64)
        for row, ids in enumerate(sources):
            if not ids:
                raise ModelError(f"source {row} is empty; end it with the eos token at least")
            inputs[row, : len(ids)] = torch.tensor(list(ids))
            valid[row, : len(ids)] = 1
        source = Source(inputs.to(self.device), valid.to(self.device))
        encoded = self.encode(source)
        memory = []
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            memory.append(block.cross_attention.keys_values(encoded))
        ones = torch.ones(len(sources), 1, dtype=torch.int64, device=self.device)
        mask = None if bool(valid.all()) else self._source_mask(source, ones)
        return SourceCache(max_tokens, memory=memory, memory_mask=mask)

    def _read(
        self, source: Source | None, segment_ids: Tensor | None, cache: KVCache | None
    ) -> _Read:
        if source is None:
            if not isinstance(cache, SourceCache):
                raise ModelError(
                    f"{type(self.config).__name__} writes a target from a source; give it one"
                )
            return _Read(cache.memory, cache.memory_mask)
        if segment_ids is None:
            segment_ids = torch.ones_like(source.segment_ids[:, :1])  # one row for every target
        return _Read(self.encode(source), self._source_mask(source, segment_ids))

    def _source_mask(self, source: Source, segment_ids: Tensor) -> Tensor:
        """(B, T) segments of the target -> (B, 1, T, S): it reads the source of its own segment."""
        allowed = segment_ids[:, None, :, None] == source.segment_ids[:, None, None, :]
        least = torch.finfo(self.compute_dtype).min
        mask = torch.zeros(allowed.shape, dtype=self.compute_dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, least)

    def _target_mask(
        self, length: int, segment_ids: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """(B or 1, H, T, S): distances, and nothing later, of another segment, or padding."""
        dtype = self.compute_dtype
        seen = 0 if cache is None else cache.length
        bias: Tensor = self.position_bias(length, seen + length).to(dtype)
        if cache is not None:
            if segment_ids is not None:
                cache.mark(segment_ids != 0)
            mask = cache.mask(length, dtype, self.device)
            return bias if mask is None else bias + mask
        if segment_ids is None:
            return bias + sequence_mask(length, dtype, self.device)
        return bias + packed_causal_mask(segment_ids, dtype)

    def _check_length(self, what: str, length: int) -> None:
        limit = self.config.context_length + 1  # the end symbol or the start symbol comes on top
        if length > limit:
            raise ContextLengthError(
                f"a {what} of {length} tokens exceeds the model's context_length="
                f"{self.config.context_length} and one symbol; shorten it, or train with a longer "
                "context"
            )

    def role(self, name: str, parameter: nn.Parameter) -> Role:
        """What a named parameter is; a table of distances is a kind of embedding."""
        if name.endswith("position_bias.weight"):
            return "embedding"
        return super().role(name, parameter)

    def initialize(self, seed: int) -> None:
        """Draw all weights from `seed`: `config.init` times what T5's code draws them with.

        Raffel et al. 2020, released code: matrices 1/sqrt(fan in), queries also 1/sqrt(head width),
        which stands for the missing scaling of the scores, embeddings 1. An untied head gets
        1/sqrt(D), so that training starts near uniform predictions.
        """
        init, generator = self.config.init, torch.Generator().manual_seed(seed)
        width = self.config.width
        head_width = self.config.attention_width // self.position_bias.weight.shape[1]
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                role = self.role(name, parameter)
                if role == "vector":
                    parameter.fill_(1.0)
                    continue
                std = init.std / math.sqrt(parameter.shape[-1])
                if name == "embedding.weight":
                    std = init.embedding_std
                elif role == "embedding":  # distances: (buckets, H)
                    std = init.std / math.sqrt(width)
                elif role == "head":
                    std = init.head_std / math.sqrt(width)
                elif name.endswith("query.weight"):
                    std /= math.sqrt(head_width)
                elif name.endswith(("attention.output.weight", "feed_forward.down.weight")):
                    std = 0.0 if init.zero_outputs else std
                draw = torch.empty(parameter.shape).normal_(0.0, 1.0, generator=generator)
                parameter.copy_(draw.mul_(std))
