"""How often a classifier is right on held-out text, beside what always saying one thing reaches.

    accuracy    targets with the right label / targets
    macro F1    the mean over the labels of 2 tp / (2 tp + fp + fn): rare labels count as much
    majority    the commonest label of training, said every time

Targets are texts, or words; intervals resample texts, because the words of one are not independent.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from model.bert_classifier import BertClassifierConfig
from model.language_model import LanguageModel
from pipeline.conversations.template import TextEncoder
from pipeline.evals.statistics import percentile_interval, resamples
from pipeline.labels.example import Labelled
from pipeline.labels.rows import encoded
from pipeline.store.errors import DataError, TrainingError
from pipeline.store.files import replacing

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations
MOST_CONFUSED = 10  # pairs of labels that a report names
Ints = npt.NDArray[np.int64]
SCHEMA = pa.schema([
    ("id", pa.string()), ("unit", pa.int32()), ("expected", pa.string()),
    ("predicted", pa.string()), ("probability", pa.float32()),
])  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """One row per target, in the order of the examples."""

    ids: tuple[str, ...]
    """Of the examples."""
    example: Ints  # (P,) number of the target's example
    unit: Ints  # (P,) which of its units
    expected: Ints  # (P,) number of the label
    predicted: Ints  # (P,) the same, -1 where the text ended beyond the context
    probability: npt.NDArray[np.float32]  # (P,) of what was predicted
    labels: tuple[str, ...]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(P,) whether the label is the expected one; what was not read is wrong."""
        return self.expected == self.predicted


@torch.inference_mode()
def probabilities(
    model: LanguageModel, tokenizer: TextEncoder, texts: Sequence[Sequence[str]]
) -> list[npt.NDArray[np.float32]]:
    """(units, C) per text, in order: for words beyond the context there are no rows.

    `texts` are units: one text, or words. Results do not depend on what else is asked.
    """
    config = model.config
    assert isinstance(config, BertClassifierConfig)
    items = [
        encoded(units, tokenizer, level=config.level, context_length=config.context_length)
        for units in texts
    ]
    found: list[npt.NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(items)
    for batch in _batches([len(item.ids) for item in items]):
        length = max(len(items[i].ids) for i in batch)
        ids = torch.zeros(len(batch), length, dtype=torch.int64)
        segments = torch.zeros_like(ids)  # 0 is padding
        for row, i in enumerate(batch):
            size = len(items[i].ids)
            ids[row, :size] = torch.tensor(items[i].ids)
            segments[row, :size] = 1
        device = model.device
        hidden = model.hidden(ids.to(device), segment_ids=segments.to(device))  # (B, T, D)
        for row, i in enumerate(batch):
            logits = model.logits(hidden[row, items[i].places]).float()  # (units, C)
            found[i] = logits.softmax(dim=-1).cpu().numpy()
    return found


def score_classes(
    model: LanguageModel, tokenizer: TextEncoder, examples: Sequence[Labelled]
) -> Predictions:
    """What the model says of every target; DataError without one, TrainingError for NaN."""
    config = model.config
    assert isinstance(config, BertClassifierConfig)
    if not examples:
        raise DataError("there is no held-out example; raise held_out_fraction or add examples")
    number = {label: index for index, label in enumerate(config.labels)}
    found = probabilities(model, tokenizer, [one.units for one in examples])
    expected: list[int] = []
    predicted: list[int] = []
    sure: list[float] = []
    for one, rows in zip(examples, found, strict=True):
        if not np.isfinite(rows).all():
            raise TrainingError(
                f"the classifier's answer to {one.id!r} is not a number: the weights are damaged "
                "or training diverged; lower the learning rate"
            )
        unread = len(one.units) - len(rows)
        expected += [number[label] for label in one.labels]
        predicted += [*rows.argmax(axis=1).tolist(), *[-1] * unread]
        sure += [*rows.max(axis=1).tolist(), *[0.0] * unread]
    counts = [len(one.units) for one in examples]
    return Predictions(
        ids=tuple(one.id for one in examples),
        example=np.repeat(np.arange(len(examples)), counts),
        unit=np.concatenate([np.arange(count) for count in counts]),
        expected=np.array(expected, np.int64),
        predicted=np.array(predicted, np.int64),
        probability=np.array(sure, np.float32),
        labels=config.labels,
    )


def summarise_classes(
    scored: Predictions, trained: Counter[str], *, level: str, draws: int, seed: int
) -> dict[str, Any]:
    """The `classes` section of report.json; `trained` counts the labels of the training split."""
    size = len(scored.labels)
    majority = max(scored.labels, key=lambda label: (trained[label], label))
    always = np.full_like(scored.expected, scored.labels.index(majority))
    occurring = np.unique(scored.expected)
    drawn: dict[str, list[float]] = {name: [] for name in ("accuracy", "macro_f1", "over")}
    plain = (always == scored.expected).astype(np.float64)
    for counts in resamples(len(scored.ids), draws, seed):
        weights = counts[scored.example].astype(np.float64)
        if not weights.any():
            continue
        right = float(weights[scored.right].sum() / weights.sum())
        drawn["accuracy"].append(right)
        table = confusion(scored.expected, scored.predicted, size, weights)
        drawn["macro_f1"].append(macro_f1(table, occurring))
        drawn["over"].append(right - float(weights @ plain / weights.sum()))
    intervals = {name: percentile_interval(np.array(values)) for name, values in drawn.items()}
    table = confusion(scored.expected, scored.predicted, size)
    accuracy = float(scored.right.mean())
    return {
        "level": level,
        "labels": list(scored.labels),
        "examples": len(scored.ids),
        "targets": len(scored.expected),
        "beyond_context": int((scored.predicted < 0).sum()),
        "accuracy": accuracy,
        "accuracy_low": intervals["accuracy"].low,
        "accuracy_high": intervals["accuracy"].high,
        "macro_f1": macro_f1(table, occurring),
        "macro_f1_low": intervals["macro_f1"].low,
        "macro_f1_high": intervals["macro_f1"].high,
        "majority": {
            "label": majority,
            "accuracy": float(plain.mean()),
            "macro_f1": macro_f1(confusion(scored.expected, always, size), occurring),
        },
        "over_majority": accuracy - float(plain.mean()),
        "over_majority_low": intervals["over"].low,
        "over_majority_high": intervals["over"].high,
        "per_label": _per_label(table, scored.labels),
        "confused": _confused(table, scored.labels),
        "bootstrap_draws": draws,
        "bootstrap_seed": seed,
    }


def confusion(
    expected: Ints, predicted: Ints, size: int, weights: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """(C, C + 1) targets by expected and predicted label; the last column was not read."""
    columns = np.where(predicted < 0, size, predicted)
    flat = np.bincount(
        expected * (size + 1) + columns, weights=weights, minlength=size * (size + 1)
    )
    return flat.astype(np.float64).reshape(size, size + 1)


def macro_f1(table: npt.NDArray[np.float64], labels: Ints) -> float:
    """Mean F1 of `labels`, those that occur in the held-out split; 0 for one never found."""
    hits = np.diag(table)
    wanted, said = table.sum(axis=1), table[:, :-1].sum(axis=0)
    both = wanted + said  # 2 tp + fp + fn
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    return float(f1[labels].mean())


def _per_label(
    table: npt.NDArray[np.float64], labels: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    wanted, said = table.sum(axis=1), table[:, :-1].sum(axis=0)
    found: dict[str, dict[str, float | int]] = {}
    for i, label in enumerate(labels):
        hits = table[i, i]
        found[label] = {
            "targets": int(wanted[i]),
            "precision": float(hits / said[i]) if said[i] else 0.0,
            "recall": float(hits / wanted[i]) if wanted[i] else 0.0,
            "f1": float(2 * hits / (wanted[i] + said[i])) if wanted[i] + said[i] else 0.0,
        }
    return found


def _confused(table: npt.NDArray[np.float64], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest mistakes, most first."""
    wrong = table[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED].tolist()
    pairs = [divmod(place, len(labels)) for place in order]
    return [
        {"expected": labels[i], "predicted": labels[j], "targets": int(wrong[i, j])}
        for i, j in pairs
        if wrong[i, j]
    ]


def write_predictions(path: Path, scored: Predictions) -> None:
    """One row per target (an Arrow IPC file), for paired comparison."""
    names = [*scored.labels, None]  # -1: not read
    table = pa.table(
        [[scored.ids[i] for i in scored.example.tolist()], scored.unit,
         [names[i] for i in scored.expected.tolist()],
         [names[i] for i in scored.predicted.tolist()], scored.probability],
        schema=SCHEMA,
    )  # fmt: skip
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _batches(lengths: Sequence[int]) -> Iterable[list[int]]:
    """Numbers of texts of like length, as many as fit `BATCH_TOKENS`."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and lengths[i] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
