"""How well a model answers: response-only loss, and greedy exact match beside a rule's answers.

The loss counts answer and end tokens only, summed over all examples and divided once. An answer is
right when it equals the expected one up to surrounding white space and the model ended it itself.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from model.generate import generate
from model.language_model import LanguageModel
from pipeline.conversations.example import Example
from pipeline.conversations.template import TextEncoder, segments
from pipeline.evals.few_shot import Form, Shots, asked_ids, token_f1
from pipeline.evals.scoring import BATCH_TOKENS, sequence_nats
from pipeline.evals.statistics import wilson
from pipeline.store.files import replacing

RESPONSE_SCHEMA = pa.schema([
    ("id", pa.string()), ("kind", pa.string()), ("nats", pa.float64()), ("tokens", pa.int64()),
])  # fmt: skip
GENERATION_ROWS = 64  # prompts answered at once; more rows wait longer for the slowest


class AnswerTokenizer(TextEncoder, Protocol):
    """A tokenizer that also turns answers back into text."""

    @property
    def vocab_size(self) -> int:
        """Ids from here on stand for nothing; a model may have more, to round up its size."""

    def decode(self, ids: Iterable[int], /) -> str:
        """The text of `ids`."""


@dataclass(frozen=True)
class Item:
    """One question with the model's answer."""

    id: str
    kind: str
    open_book: bool
    prompt: str
    expected: str
    answer: str
    correct: bool
    ended: bool
    """The model produced an end token within the limit."""
    baseline: str
    baseline_correct: bool


@dataclass(frozen=True)
class ResponseScores:
    """What a model needed for each answer, all of length E; examples without one are counted."""

    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    nats: np.ndarray  # (E,) float64, over answer and end tokens
    tokens: np.ndarray  # (E,) int64
    too_long: int
    """Left out because they exceed the context."""
    no_target: int
    """Left out because nothing in them is an answer."""


def response_loss(
    model: LanguageModel,
    tokenizer: TextEncoder,
    examples: Sequence[Example],
    *,
    context: int,
    batch_tokens: int = BATCH_TOKENS,
) -> dict[str, Any]:
    """Mean nats per target token over all examples and per kind, with what was left out."""
    scores = score_responses(model, tokenizer, examples, context=context, batch_tokens=batch_tokens)
    return summarise_responses(scores)


def score_responses(
    model: LanguageModel,
    tokenizer: TextEncoder,
    examples: Sequence[Example],
    *,
    context: int,
    batch_tokens: int = BATCH_TOKENS,
) -> ResponseScores:
    """Nats of every answer that fits the context, in the order of `examples`."""
    kept, sequences, firsts, masks = [], [], [], []
    too_long = 0
    for example in examples:
        item = segments(example, tokenizer)
        if len(item.ids) > context + 1:
            too_long += 1
            continue
        marks = np.array(item.trainable, bool)
        if not marks[1:].any():
            continue
        first = 1 + int(np.argmax(marks[1:]))
        kept.append(example)
        sequences.append(np.array(item.ids, np.int64))
        firsts.append(first)
        masks.append(marks[first:])
    nats = sequence_nats(model, sequences, firsts, batch_tokens=batch_tokens)
    return ResponseScores(
        tuple(example.id for example in kept), tuple(example.kind for example in kept),
        np.array([math.fsum(v[m]) for v, m in zip(nats, masks, strict=True)], np.float64),
        np.array([int(marks.sum()) for marks in masks], np.int64),
        too_long, len(examples) - len(kept) - too_long,
    )  # fmt: skip


def summarise_responses(scores: ResponseScores) -> dict[str, Any]:
    """Mean nats per target token over all answers and per kind, with what was left out."""
    sums: dict[str, list[float]] = defaultdict(list)
    tokens: Counter[str] = Counter()
    rows = zip(scores.kinds, scores.nats.tolist(), scores.tokens.tolist(), strict=True)
    for kind, value, number in rows:
        sums[kind].append(value)
        tokens[kind] += number
    total = math.fsum(value for values in sums.values() for value in values)
    count = sum(tokens.values())
    return {
        "response_loss": total / count if count else None,
        "response_tokens": count,
        "examples": len(scores.ids),
        "excluded": {"too_long": scores.too_long, "no_target": scores.no_target},
        "kinds": {
            kind: {
                "response_loss": math.fsum(sums[kind]) / tokens[kind],
                "response_tokens": tokens[kind],
            }
            for kind in sorted(sums)
        },
    }


def choose_questions(examples: Sequence[Example], per_kind: int) -> list[Example]:
    """The first `per_kind` examples of each kind, in the order of the file."""
    taken: Counter[str] = Counter()
    chosen = []
    for example in examples:
        if taken[example.kind] < per_kind:
            taken[example.kind] += 1
            chosen.append(example)
    return chosen


def most_frequent_answers(train: Iterable[Example]) -> dict[str, str]:
    """The baseline of examples that bring none: their kind's commonest training answer."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        counts[example.kind][example.expected] += 1
    return {kind: min(c, key=lambda answer: (-c[answer], answer)) for kind, c in counts.items()}


def answer_questions(
    model: LanguageModel,
    tokenizer: AnswerTokenizer,
    questions: Sequence[Example],
    baselines: dict[str, str],
    *,
    context: int,
    max_tokens: int,
    form: Form = "answer",
    shots: Shots | None = None,
    rows: int = GENERATION_ROWS,
) -> tuple[list[Item], int]:
    """Greedy answers in the order of `questions`, and how many prompts left no room to answer.

    `shots` are solved examples by kind, put before each question of that kind.

    Prompts of like length are answered together and share the room the longest of them leaves:
    only where that is less than `max_tokens` can an answer depend on `rows`.
    """
    prompts = [
        asked_ids(question, tokenizer, form, (shots or {}).get(question.kind, ()))
        for question in questions
    ]
    fitting = [i for i, ids in enumerate(prompts) if len(ids) < context]
    items: dict[int, Item] = {}
    fitting.sort(key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(fitting), rows):
        batch = fitting[start : start + rows]
        room = context - max(len(prompts[i]) for i in batch)
        limit = min(max_tokens, room)
        outputs = greedy(model, tokenizer, [prompts[i] for i in batch], limit)
        if form == "continuation":
            outputs = [first_line(*output) for output in outputs]
        for i, (answer, ended) in zip(batch, outputs, strict=True):
            question = questions[i]
            baseline = question.copy_baseline
            if baseline is None:
                baseline = baselines.get(question.kind, "")
            expected = question.expected.strip()
            items[i] = Item(
                question.id, question.kind, question.open_book, question.question, expected,
                answer.strip(), ended and answer.strip() == expected, ended,
                baseline, baseline.strip() == expected,
            )  # fmt: skip
    return [items[i] for i in sorted(items)], len(questions) - len(items)


def first_line(text: str, ended: bool) -> tuple[str, bool]:
    """The first line with words on it: a document goes on after the answer."""
    line, newline, _ = text.lstrip().partition("\n")
    return line, ended or bool(newline)


def greedy(
    model: LanguageModel, tokenizer: AnswerTokenizer, prompts: Sequence[list[int]], max_tokens: int
) -> list[tuple[str, bool]]:
    """The most probable continuation of each prompt and whether it ended with eos or `end`."""
    stops = (tokenizer.eos, tokenizer.end)
    outputs = generate(
        model, list(prompts), max_tokens=max_tokens, temperature=0.0, top_k=None, top_p=None,
        stop_ids=stops, seed=0,
    )  # fmt: skip
    return [ended_text(ids, stops, max_tokens, tokenizer) for ids in outputs]


def ended_text(
    ids: Sequence[int], stops: Sequence[int], max_tokens: int, tokenizer: AnswerTokenizer
) -> tuple[str, bool]:
    """The text before the first stop token, and whether generation stopped before its limit."""
    cut = next((i for i, token in enumerate(ids) if token in stops), None)
    words = [token for token in ids[:cut] if token < tokenizer.vocab_size]
    return tokenizer.decode(words), cut is not None or len(ids) < max_tokens


def summarise_items(items: Sequence[Item]) -> dict[str, Any]:
    """Exact match per kind, open and closed book, each with Wilson's interval and baseline."""
    kinds = sorted({item.kind for item in items})
    return {
        "exact_match": {
            kind: _share([item for item in items if item.kind == kind]) for kind in kinds
        },
        "open_book": _share([item for item in items if item.open_book]),
        "closed_book": _share([item for item in items if not item.open_book]),
        "eos_rate": sum(item.ended for item in items) / len(items) if items else None,
    }


def _share(items: Sequence[Item]) -> dict[str, Any]:
    total, correct = len(items), sum(item.correct for item in items)
    baseline = sum(item.baseline_correct for item in items)
    interval = wilson(correct, total)
    return {
        "correct": correct,
        "total": total,
        "rate": correct / total if total else None,
        "low": interval.low,
        "high": interval.high,
        "baseline": baseline / total if total else None,
        "baseline_correct": baseline,
        "token_f1": math.fsum(token_f1(i.answer, i.expected) for i in items) / total
        if total
        else None,
    }


def write_items(path: Path, items: Sequence[Item]) -> None:
    """One JSON object per question, for paired comparison of two models."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for item in items:
            handle.write(json.dumps(asdict(item), ensure_ascii=False, sort_keys=True) + "\n")


def write_responses(path: Path, scores: ResponseScores) -> None:
    """One row per answer (an Arrow IPC file), for paired comparison of two models."""
    table = pa.table(
        [list(scores.ids), list(scores.kinds), scores.nats, scores.tokens], schema=RESPONSE_SCHEMA
    )
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def read_responses(path: Path) -> pa.Table:
    """The table `write_responses` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def read_items(path: Path) -> list[Item]:
    """The items `write_items` wrote."""
    with open(path, encoding="utf-8") as handle:
        return [Item(**json.loads(line)) for line in handle]
