"""Examples into rows of equal length, several to a row (packed) or one (padded), in an Arrow file.

    ids        p p b a a e | q b c e | 0 0      context_length + 1 entries per row
    trainable  0 0 0 1 1 1 | 0 0 1 1 | 0 0
    segment    1 1 1 1 1 1 | 2 2 2 2 | 0 0      0 = padding, known by this alone, never by an id

`pipeline/tokens/batches.py` reads it, shifts by one and keeps segments from seeing each other.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.conversations.example import Example, Message, read_examples
from pipeline.conversations.replay import Replay, replay_rows
from pipeline.conversations.template import (
    Segments,
    TextEncoder,
    TurnChoice,
    chat_segments,
    pair_segments,
    segments,
)
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.files import replacing
from pipeline.tokens.fitting import lay_out

Policy = Literal["drop", "truncate_prompt_left", "error"]
PACKED_SCHEMA = pa.schema([
    ("ids", pa.list_(pa.uint32())),
    ("trainable", pa.list_(pa.uint8())),
    ("segment", pa.list_(pa.uint32())),
])  # fmt: skip
ROWS_PER_BATCH = 1_000
Row = tuple[np.ndarray, np.ndarray, np.ndarray]  # ids, trainable, segment: (capacity,) each


def write_rows(
    rows: Iterable[Example] | Path,
    tokenizer: TextEncoder,
    out_path: Path,
    *,
    context_length: int,
    policy: Policy = "drop",
    pack: bool = True,
    train_on: TurnChoice = "all",
    replay: Replay | None = None,
) -> dict[str, Any]:
    """Write the packed-rows file of `rows` (examples or a JSONL path) and return its counts.

    An example longer than `context_length + 1` tokens follows `policy`; an answer is never cut.
    One without a target, judged after cutting, is dropped and counted. DataError if none is left.
    Rows of `replay` follow the examples' rows; the loader shuffles all of them.
    """
    if context_length < 1:
        raise ConfigError(f"context_length={context_length} must be at least 1")
    capacity = context_length + 1
    examples = read_examples(rows) if isinstance(rows, Path) else iter(rows)
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    fitted = list(
        _fitted(examples, tokenizer, _Fitting(capacity, policy, train_on), counts, dropped)
    )
    if not fitted:
        also = ", or set long_examples: truncate_prompt_left" if policy == "drop" else ""
        raise DataError(
            f"none of {counts['seen']} examples can be trained on with {context_length=} "
            f"(dropped: {dict(dropped)}); raise it{also}"
        )
    bins = best_fit([len(item.ids) for item in fitted], capacity) if pack else _alone(len(fitted))
    bins.sort(key=min)  # longest first is how they were made; the first rows must be like the rest
    target_tokens = sum(sum(item.trainable) for item in fitted)
    replayed: list[Row] = []
    if replay is not None:
        replayed = list(
            replay_rows(replay, target_tokens=target_tokens, context_length=context_length)
        )
    facts = {
        "context_length": str(context_length),
        "tokenizer_sha256": str(getattr(tokenizer, "sha256", "")),
        "packed": str(pack).lower(),
        "policy": policy,
    }
    _write(out_path, [*_packed(bins, fitted, capacity), *replayed], facts)
    tokens = sum(len(item.ids) for item in fitted)
    return {
        "rows": len(bins) + len(replayed),
        "replay_rows": len(replayed),
        "replay_tokens": sum(int(trainable.sum()) for _, trainable, _ in replayed),
        "examples": len(fitted),
        "seen": counts["seen"],
        "dropped": dict(sorted(dropped.items())),
        "truncated": counts["truncated"],
        "tokens": tokens,
        "target_tokens": target_tokens,
        "padding_tokens": len(bins) * capacity - tokens,
        "efficiency": tokens / (len(bins) * capacity),
        "context_length": context_length,
        "packed": pack,
        "policy": policy,
    }


@dataclass(frozen=True)
class _Fit:
    """An example that fits, or why it does not."""

    item: Segments | None = None
    truncated: bool = False
    reason: str = ""


def _fitted(
    examples: Iterator[Example],
    tokenizer: TextEncoder,
    fitting: "_Fitting",
    counts: Counter[str],
    dropped: Counter[str],
) -> Iterator[Segments]:
    handle = _POLICIES.get(fitting.policy)
    if handle is None:
        known = ", ".join(_POLICIES)
        raise ConfigError(f"policy={fitting.policy!r} is unknown; use one of {known}")
    for example in examples:
        counts["seen"] += 1
        item = segments(example, tokenizer, train_on=fitting.train_on)
        fits = len(item.ids) <= fitting.capacity
        fit = _Fit(item) if fits else handle(example, tokenizer, fitting)
        if fit.item is None:
            dropped[fit.reason] += 1
        elif not any(fit.item.trainable[1:]):  # the first token of a row is never a target
            dropped["no_target"] += 1
        else:
            counts["truncated"] += fit.truncated
            yield fit.item


@dataclass(frozen=True)
class _Fitting:
    """How many tokens fit, what happens to more, which turns are trained."""

    capacity: int
    policy: Policy
    train_on: TurnChoice


def _drop(example: Example, tokenizer: TextEncoder, fitting: _Fitting) -> _Fit:
    return _Fit(reason="too_long")


def _refuse(example: Example, tokenizer: TextEncoder, fitting: _Fitting) -> _Fit:
    length = len(segments(example, tokenizer).ids)
    raise DataError(
        f"example {example.id or example.question[:60]!r} has {length} tokens, a row holds "
        f"{fitting.capacity}; shorten it, raise context_length, or set long_examples to drop or "
        "truncate_prompt_left"
    )


def _truncate_left(example: Example, tokenizer: TextEncoder, fitting: _Fitting) -> _Fit:
    """Cut the beginning of the prompt, or the oldest turns; the answer stays whole."""
    if example.messages:
        return _without_oldest_turns(example, tokenizer, fitting)
    prompt, answer = tokenizer.encode(example.prompt), tokenizer.encode(example.answer)
    room = fitting.capacity - len(answer) - 2
    if room < 0:
        return _Fit(reason="answer_too_long")
    return _Fit(pair_segments(prompt[len(prompt) - room :], answer, tokenizer), truncated=True)


def _without_oldest_turns(example: Example, tokenizer: TextEncoder, fitting: _Fitting) -> _Fit:
    """System turns at the start stay; after them turns go until the rest begins with a user.

    Where the last question and its answer alone are too long, the question loses its beginning.
    """
    turns = list(example.messages)
    lead = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    start = lead
    for later in range(lead + 1, len(turns)):
        if turns[later].role != "user":
            continue
        start = later
        shorter = replace(example, messages=(*turns[:lead], *turns[start:]))
        item = segments(shorter, tokenizer, train_on=fitting.train_on)
        if len(item.ids) <= fitting.capacity:
            return _Fit(item, truncated=True)
    return _cut_question(turns[:lead], turns[start:], tokenizer, fitting)


def _cut_question(
    lead: Sequence[Message], turns: Sequence[Message], tokenizer: TextEncoder, fitting: _Fitting
) -> _Fit:
    """The first of `turns`, a user's, without as many of its first tokens as do not fit."""
    if not turns:
        return _Fit(reason="no_target")
    question = tokenizer.encode(turns[0].content)
    empty = [*lead, replace(turns[0], content=""), *turns[1:]]
    rest = chat_segments(empty, tokenizer, train_on=fitting.train_on)
    room = fitting.capacity - len(rest.ids)
    if room < 0:
        return _Fit(reason="answer_too_long")
    at = len(chat_segments(empty[: len(lead) + 1], tokenizer).ids) - 1  # the end of its turn
    kept = question[len(question) - room :]
    ids = [*rest.ids[:at], *kept, *rest.ids[at:]]
    trainable = [*rest.trainable[:at], *[0] * len(kept), *rest.trainable[at:]]
    return _Fit(Segments(ids, trainable), truncated=True)


_POLICIES: dict[str, Callable[[Example, TextEncoder, _Fitting], _Fit]] = {
    "drop": _drop,
    "truncate_prompt_left": _truncate_left,
    "error": _refuse,
}


def _alone(count: int) -> list[list[int]]:
    return [[i] for i in range(count)]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The item numbers of each row, packed by best fit decreasing; every length in 1..capacity."""
    layout = lay_out(np.array(lengths, np.int64), capacity, pack=True)
    edges = layout.offsets.tolist()
    return [layout.pieces[i:j].tolist() for i, j in itertools.pairwise(edges)]


def _packed(
    bins: Sequence[Sequence[int]], fitted: Sequence[Segments], capacity: int
) -> Iterator[Row]:
    for members in bins:
        ids, segment = np.zeros(capacity, np.uint32), np.zeros(capacity, np.uint32)
        trainable = np.zeros(capacity, np.uint8)
        at = 0
        for number, member in enumerate(members, start=1):
            item = fitted[member]
            stop = at + len(item.ids)
            ids[at:stop] = item.ids
            trainable[at:stop] = item.trainable
            segment[at:stop] = number
            at = stop
        yield ids, trainable, segment


def _write(path: Path, rows: Sequence[Row], facts: Mapping[str, str]) -> None:
    schema = PACKED_SCHEMA.with_metadata(facts)
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, schema) as writer:
            for start in range(0, len(rows), ROWS_PER_BATCH):
                chunk = rows[start : start + ROWS_PER_BATCH]
                capacity = len(chunk[0][0])
                offsets = np.arange(0, len(chunk) * capacity + 1, capacity, dtype=np.int32)
                columns = [
                    pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)))
                    for values in zip(*chunk, strict=True)
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
