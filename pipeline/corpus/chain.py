"""A batch through the list of steps: each document passes those that apply to its language.

    batch -> groups of documents with the same steps -> rewrite, measure, rewrite, ... -> one batch

A filter measures the text as it is at the filter's place in the list, and goes on after an
objection: all measures and objections of a document are known in the end.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Filter, Measures, Rewrite, Step
from pipeline.corpus.filters.judging import Columns, Verdicts, judge_all, labels_of
from pipeline.corpus.language import languages_of


@dataclass(frozen=True)
class Passed:
    """What a list of steps made of N documents, in their order."""

    batch: TextBatch
    columns: Columns
    """(N,) values by `kind.measure`."""
    applied: dict[str, npt.NDArray[np.bool_]]
    """(N,) by kind: which rows of its columns hold a value."""
    languages: list[str | None]
    """N codes; None where no step asked for the language."""
    verdicts: Verdicts
    rewritten: dict[str, int]
    """Changes by `kind.what`."""


def needs_language(steps: Sequence[Step]) -> bool:
    """Whether any step depends on the language of a document."""
    return any(step.is_routed or step.name == "language" for step in steps)


def pass_through(steps: Sequence[Step], batch: TextBatch, *, identify: bool = False) -> Passed:
    """Apply all steps; the language is found when one needs it, or with `identify`."""
    count = len(batch)
    languages: list[str | None] = [None] * count
    if identify or needs_language(steps):
        languages = list(languages_of(batch).codes)
    labels = labels_of(steps)
    columns: Columns = {}
    applied = {label: np.zeros(count, np.bool_) for label in labels}
    rewritten: Counter[str] = Counter()
    texts: list[tuple[npt.NDArray[np.int64], TextBatch]] = []
    for rows, route in _routes(steps, languages):
        part = batch if len(rows) == count else batch.filtered(_mask(rows, count))
        for index in route:
            label, step = labels[index], steps[index]
            part, measures = _apply(step, label, part, rewritten)
            applied[label][rows] = True
            for name, values in measures.items():
                _fill(columns, f"{label}.{name}", rows, values, count)
        texts.append((rows, part))
    for step, label in zip(steps, labels, strict=True):
        _complete(step, label, columns, count)
    columns = _ordered(columns, labels)
    whole = _joined(batch, texts)
    verdicts = judge_all(steps, columns, languages)
    return Passed(whole, columns, applied, languages, verdicts, dict(sorted(rewritten.items())))


def _routes(
    steps: Sequence[Step], languages: Sequence[str | None]
) -> list[tuple[npt.NDArray[np.int64], tuple[int, ...]]]:
    """(rows, indexes of the steps they pass) for each group of documents treated alike."""
    route_of = {
        language: tuple(i for i, step in enumerate(steps) if step.applies_to(language))
        for language in set(languages)
    }
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, language in enumerate(languages):
        groups.setdefault(route_of[language], []).append(row)
    return [(np.array(rows, np.int64), route) for route, rows in groups.items()]


def _apply(
    step: Step, label: str, part: TextBatch, rewritten: Counter[str]
) -> tuple[TextBatch, Measures]:
    if isinstance(step, Filter):
        return part, step.measure(part)
    assert isinstance(step, Rewrite), f"{step.name} is neither a filter nor a rewrite"
    done = step.apply(part)
    rewritten.update({f"{label}.{what}": count for what, count in done.counts.items() if count})
    return done.batch, done.measures


def _fill(
    columns: Columns, name: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any], count: int
) -> None:
    values = np.asarray(values)
    if len(rows) == count:
        columns[name] = values
        return
    if name not in columns:
        columns[name] = _blank(count, values.dtype)
    columns[name][rows] = values


def _blank(count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Values of documents that a step does not see: nothing looks at them, but they have a type."""
    return np.full(count, None) if dtype.hasobject else np.zeros(count, dtype)


def _complete(step: Step, label: str, columns: Columns, count: int) -> None:
    """A step that met no document of this batch has columns all the same, of its own types."""
    if any(name.startswith(f"{label}.") for name in columns):
        return
    _, measures = _apply(step, label, TextBatch.of([]), Counter())
    for name, values in measures.items():
        columns[f"{label}.{name}"] = _blank(count, np.asarray(values).dtype)


def _ordered(columns: Columns, labels: Sequence[str]) -> Columns:
    """By the order of the steps: batches that begin in different languages have equal columns."""
    place = {label: number for number, label in enumerate(labels)}
    names = sorted(columns, key=lambda name: place[name.partition(".")[0]])
    return {name: columns[name] for name in names}


def _mask(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask


def _joined(
    batch: TextBatch, texts: Sequence[tuple[npt.NDArray[np.int64], TextBatch]]
) -> TextBatch:
    """The groups' texts in the order of the batch; the batch itself when nothing changed."""
    if len(texts) == 1:
        return texts[0][1]
    if not texts:
        return batch
    whole = list(batch.texts)
    for rows, part in texts:
        for row, text in zip(rows.tolist(), part.texts, strict=True):
            whole[row] = text
    return batch.with_texts(whole)
