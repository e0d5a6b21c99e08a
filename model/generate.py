"""Autoregressive generation: one token per step until a stop id, `max_tokens` or the context's end.

    prompts, padded on the left -> one pass fills the cache -> token -> one pass of length 1 -> ...

R rows still unfinished, S positions so far. A row that is finished leaves the batch and the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.attention import KVCache
from model.encoder_decoder import EncoderDecoder
from model.errors import ContextLengthError, ModelError
from model.language_model import LanguageModel
from model.sampling import Sampling, draw, filter_logits, penalize_repetition


@dataclass(frozen=True)
class NewToken:
    """One step of one row; `stopped` when it was a stop id, which ends the row."""

    row: int
    token: int
    stopped: bool


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_ids: Sequence[int] = (),
    seed: int = 0,
    *,
    repetition_penalty: float = 1.0,
    sources: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """Continue each prompt; returns the new ids only, without the stop id.

    An encoder-decoder reads `sources`, once, and its prompts are what the targets begin with: the
    start symbol.

    `temperature=0` is greedy. Row i draws from `seed + i`, so a row does not depend on its
    neighbours. A result shorter than `max_tokens` met a stop id or the end of the context. Raises
    ContextLengthError for a prompt that leaves no room and ModelError for one that is empty or has
    ids outside the vocabulary.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    for new in stream(
        model, prompts, max_tokens, sampling, stop_ids=stop_ids, seed=seed, sources=sources
    ):
        if not new.stopped:
            answers[new.row].append(new.token)
    return answers


def stream(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    sampling: Sampling | None = None,
    *,
    stop_ids: Sequence[int] = (),
    seed: int = 0,
    sources: Sequence[Sequence[int]] | None = None,
) -> Iterator[NewToken]:
    """The tokens of `generate` as they come, row by row within a step; a stop id is yielded too.

    Prompts are checked at once, before the first token is asked for.
    """
    check_prompts(prompts, max_tokens, model)
    check_sources(sources, len(prompts), model)
    cache = _cache(model, prompts, max_tokens, sources)
    sampling, stops = sampling or Sampling(), frozenset(stop_ids)
    return _steps(model, prompts, max_tokens, sampling, stops, seed, cache)


def check_prompts(prompts: Sequence[Sequence[int]], max_tokens: int, model: LanguageModel) -> None:
    """Raise for what cannot be continued, naming value, limit and remedy."""
    if max_tokens < 1:
        raise ModelError(f"max_tokens={max_tokens} must be at least 1")
    limit, vocab_size = model.config.context_length, model.config.vocab_size
    for row, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ModelError(f"prompt {row} is empty; begin it with the bos token")
        if len(prompt) >= limit:
            raise ContextLengthError(
                f"prompt {row} has {len(prompt)} tokens, which leaves no room in the context of "
                f"{limit}; shorten it to at most {limit - 1}"
            )
        if min(prompt) < 0 or max(prompt) >= vocab_size:
            wrong = next(token for token in prompt if not 0 <= token < vocab_size)
            raise ModelError(
                f"prompt {row} contains the id {wrong}; the model's ids are 0 to {vocab_size - 1}: "
                f"encode with the tokenizer it was trained with"
            )


def check_sources(sources: Sequence[Sequence[int]] | None, rows: int, model: LanguageModel) -> None:
    """Raise where an encoder-decoder has no source for every row, or another model has any."""
    if not isinstance(model, EncoderDecoder):
        if sources is not None:
            raise ModelError(
                f"{type(model.config).__name__} reads no source; put it before the prompt"
            )
        return
    if sources is None:
        raise ModelError(f"{type(model.config).__name__} needs a source for every row")
    if len(sources) != rows:
        raise ModelError(f"{len(sources)} sources for {rows} prompts; give one for each")
    vocab_size = model.config.vocab_size
    for row, source in enumerate(sources):
        wrong = next((token for token in source if not 0 <= token < vocab_size), None)
        if wrong is not None:
            raise ModelError(
                f"source {row} contains the id {wrong}; the model's ids are 0 to {vocab_size - 1}: "
                "encode with the tokenizer it was trained with"
            )


def _cache(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    sources: Sequence[Sequence[int]] | None,
) -> KVCache:
    """An empty cache for the new tokens, the sources read into it."""
    longest = max(map(len, prompts), default=0)
    size = min(model.config.context_length, longest + max_tokens)
    if sources is None or not isinstance(model, EncoderDecoder):
        return KVCache(size)
    return model.read(sources, size)


def _steps(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    sampling: Sampling,
    stop_ids: frozenset[int],
    seed: int,
    cache: KVCache,
) -> Iterator[NewToken]:
    if not prompts:
        return
    device, limit = model.device, model.config.context_length
    rows = list(range(len(prompts)))
    lengths = [len(prompt) for prompt in prompts]
    generators = [torch.Generator().manual_seed(seed + row) for row in rows]
    longest = max(lengths)
    seen = (
        _seen(prompts, model.config.vocab_size, device)
        if sampling.repetition_penalty != 1
        else None
    )
    logits = _prefill(model, prompts, cache)  # (R, V)
    for step in range(max_tokens):
        if seen is not None:
            logits = penalize_repetition(logits, seen, sampling.repetition_penalty)
        if sampling.temperature == 0.0:
            tokens = logits.argmax(dim=-1)
        else:
            tokens = draw(filter_logits(logits, sampling), generators)
        chosen: list[int] = tokens.tolist()
        for row, token in zip(rows, chosen, strict=True):
            yield NewToken(row, token, token in stop_ids)
        # A row goes on unless it stopped or the token just drawn fills its context.
        going = [
            i
            for i, token in enumerate(chosen)
            if token not in stop_ids and lengths[i] + step + 1 < limit
        ]
        if not going or step + 1 == max_tokens:
            return
        if seen is not None:
            seen.scatter_(1, tokens.unsqueeze(1), True)
        if len(going) < len(rows):
            kept = torch.tensor(going, device=device)
            cache.keep_rows(kept)
            tokens = tokens[kept]
            seen = seen[kept] if seen is not None else None
            rows, lengths = [rows[i] for i in going], [lengths[i] for i in going]
            generators = [generators[i] for i in going]
            cache.drop_first(longest - max(lengths))  # columns that now pad every row
            longest = max(lengths)
        positions = torch.tensor([[length + step] for length in lengths], device=device)
        logits = _next_logits(model, tokens.unsqueeze(1), cache, positions=positions)


@torch.no_grad()
def _prefill(model: LanguageModel, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """Fill the cache with the prompts, padded on the left; (R, V) logits of the first new token."""
    longest = max(map(len, prompts))
    inputs = torch.zeros(len(prompts), longest, dtype=torch.int64)
    valid = torch.zeros(len(prompts), longest, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        inputs[row, longest - len(prompt) :] = torch.tensor(prompt)
        valid[row, longest - len(prompt) :] = 1
    padded = not bool(valid.all())
    positions = (valid.cumsum(dim=1) - 1).clamp_min(0)
    return _next_logits(
        model,
        inputs.to(model.device),
        cache,
        positions=positions.to(model.device) if padded else None,
        segment_ids=valid.to(model.device) if padded else None,
    )


@torch.no_grad()
def _next_logits(
    model: LanguageModel,
    inputs: Tensor,
    cache: KVCache,
    positions: Tensor | None,
    segment_ids: Tensor | None = None,
) -> Tensor:
    """(R, V) float32 logits after the last of `inputs` (R, T)."""
    hidden = model.hidden(inputs, positions, segment_ids, cache)[:, -1]  # (R, D)
    return model.logits(hidden).float()


def _seen(prompts: Sequence[Sequence[int]], vocab_size: int, device: torch.device) -> Tensor:
    """(R, V) bool: which ids occur in each prompt."""
    seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        seen[row, torch.tensor(prompt)] = True
    return seen.to(device)
