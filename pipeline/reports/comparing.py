"""Differences with intervals: the same documents or questions are resampled for both sides."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.artifacts import BaselineReport, EvalReport
from pipeline.evals.statistics import bits_per_byte, bootstrap_weights, percentile_interval
from pipeline.reports.reading import read_columns, read_lines

DRAWS = 1_000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval and how many items it rests on."""

    value: float
    low: float
    high: float
    items: int


Key = tuple[str, int]
"""A held-out document: its id, and how many with this id come before it (files may share ids)."""


def subset_bits_per_byte(report: EvalReport, documents: set[Key] | None = None) -> Estimate | None:
    """The model's bits per byte on `documents` (None: all of them)."""
    scores = _nats(report)
    return _ratio([v for k, v in scores.items() if documents is None or k in documents])


def model_minus_baseline(
    report: EvalReport, baselines: BaselineReport, name: str, *, clean: bool
) -> Estimate | None:
    """Bits per byte of the model minus those of row `name`, negative if the model is better."""
    columns = read_columns(baselines.path / "documents.arrow")
    if f"nats_{name}" not in columns:
        return None
    ours = _nats(report)
    pairs = []
    for key, theirs, is_clean in zip(
        _keys(columns["doc_id"]), columns[f"nats_{name}"], columns["clean"], strict=True
    ):
        if key in ours and (is_clean or not clean):
            nats, num_bytes = ours[key]
            pairs.append((nats - theirs, num_bytes))
    return _ratio(pairs)


def clean_documents(baselines: BaselineReport) -> set[Key]:
    """Held-out documents that share little with the training text."""
    columns = read_columns(baselines.path / "documents.arrow")
    pairs = zip(_keys(columns.get("doc_id", [])), columns.get("clean", []), strict=True)
    return {key for key, clean in pairs if clean}


def read_answers(report: EvalReport) -> dict[str, dict[str, Any]]:
    """Question id -> what was asked, expected and answered."""
    return {item["id"]: item for item in read_lines(report.path / "sft_items.jsonl")}


def exact_match_difference(
    tuned: Mapping[str, Mapping[str, Any]],
    base: Mapping[str, Mapping[str, Any]],
    *,
    kind: str | None = None,
    open_book: bool | None = None,
    against: str = "correct",
) -> Estimate | None:
    """Share answered exactly, tuned minus base, on the questions both were asked.

    `against="baseline_correct"` compares with the copy or majority baseline instead.
    """
    differences = [
        float(item["correct"]) - float(base[key][against])
        for key, item in tuned.items()
        if key in base
        and (kind is None or item["kind"] == kind)
        and (open_book is None or item["open_book"] == open_book)
    ]
    if not differences:
        return None
    values = np.asarray(differences)
    weights = bootstrap_weights(len(values), DRAWS, SEED)
    interval = percentile_interval(weights @ values / len(values))
    return Estimate(float(values.mean()), interval.low, interval.high, len(values))


def _keys(doc_ids: Sequence[str]) -> list[Key]:
    """Models and baselines list the eval set's documents in its order, so the keys agree."""
    before: Counter[str] = Counter()
    keys = []
    for doc_id in doc_ids:
        keys.append((doc_id, before[doc_id]))
        before[doc_id] += 1
    return keys


def _nats(report: EvalReport) -> dict[Key, tuple[float, int]]:
    columns = read_columns(report.path / "documents.arrow")
    if not columns:
        return {}
    values = zip(_keys(columns["doc_id"]), columns["nats"], columns["bytes"], strict=True)
    return {key: (nats, num_bytes) for key, nats, num_bytes in values}


def _ratio(pairs: Sequence[tuple[float, int]]) -> Estimate | None:
    """Sum of nats over sum of bytes, in bits, with its interval."""
    if not pairs or not sum(num_bytes for _, num_bytes in pairs):
        return None
    nats, num_bytes = np.asarray(pairs, np.float64).T
    weights = bootstrap_weights(len(nats), DRAWS, SEED).astype(np.float64)
    resampled = (weights @ nats) / np.maximum(weights @ num_bytes, 1) / np.log(2)
    interval = percentile_interval(resampled)
    value = bits_per_byte(float(nats.sum()), float(num_bytes.sum()))
    return Estimate(value, interval.low, interval.high, len(nats))
