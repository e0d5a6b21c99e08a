"""Verdicts on a batch from nothing but its columns of measures: fresh ones or stored ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.filters.base import Filter, Step

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Verdicts:
    """What the filters say about N documents."""

    keep: npt.NDArray[np.bool_]
    """(N,) no filter objects."""
    objections: list[list[str]]
    """N lists of `filter.reason`, in the order of the filters; one per filter at most."""

    @property
    def reasons(self) -> list[str]:
        """N first objections; "" for kept documents."""
        return [found[0] if found else "" for found in self.objections]


def labels_of(steps: Sequence[Step]) -> list[str]:
    """The prefix of each step's columns and reasons: its kind, numbered from the second on.

    Steps of one kind share a prefix while no document can pass through both.
    """
    labels: list[str] = []
    for index, step in enumerate(steps):
        number = 1
        for earlier, label in zip(steps[:index], labels, strict=True):
            if earlier.name == step.name and not _disjoint(earlier, step):
                number = max(number, int(label.rpartition("#")[2] or 1) + 1 if "#" in label else 2)
        labels.append(step.name if number == 1 else f"{step.name}#{number}")
    return labels


def _disjoint(one: Step, other: Step) -> bool:
    """Whether no language passes through both steps."""
    if one.languages and other.languages:
        return not set(one.languages) & set(other.languages)
    if one.languages:
        return set(one.languages) <= set(other.except_languages)
    if other.languages:
        return set(other.languages) <= set(one.except_languages)
    return False


def applicable(step: Step, languages: Sequence[str | None]) -> npt.NDArray[np.bool_]:
    """(N,) whether the step applies to documents of these languages; None means unknown."""
    known = {language: step.applies_to(language) for language in set(languages)}
    return np.array([known[language] for language in languages], np.bool_)


def judge_all(
    steps: Sequence[Step], columns: Mapping[str, npt.NDArray[Any]], languages: Sequence[str | None]
) -> Verdicts:
    """Judge N documents, of these languages, by the filters among `steps`.

    A column is only looked at in the rows its filter applies to; the rest may hold anything.
    """
    objections: list[list[str]] = [[] for _ in languages]
    for step, label in zip(steps, labels_of(steps), strict=True):
        if not isinstance(step, Filter):
            continue
        rows = np.flatnonzero(applicable(step, languages))
        if not len(rows):
            continue
        prefix = f"{label}."
        measures = {
            name.removeprefix(prefix): np.asarray(value)[rows]
            for name, value in columns.items()
            if name.startswith(prefix)
        }
        codes = step.judge(measures)
        for index in np.flatnonzero(codes):
            objections[rows[index]].append(prefix + step.reasons[codes[index] - 1])
    return Verdicts(np.array([not found for found in objections], np.bool_), objections)
