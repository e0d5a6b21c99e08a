"""All filters over one batch: columns of measures first, verdicts from nothing but the columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Filter

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


def measure_all(filters: Sequence[Filter], batch: TextBatch) -> Columns:
    """(N,) columns `filter.measure`; filters of one kind share theirs."""
    columns: Columns = {}
    for name, member in {member.name: member for member in filters}.items():
        columns |= {f"{name}.{key}": value for key, value in member.measure(batch).items()}
    return columns


def judge_all(
    filters: Sequence[Filter], columns: Mapping[str, npt.NDArray[Any]], count: int
) -> Verdicts:
    """Judge `count` documents from their measures alone: fresh ones or those of a stored part."""
    objections: list[list[str]] = [[] for _ in range(count)]
    for member in filters:
        prefix = f"{member.name}."
        measures = {
            name.removeprefix(prefix): np.asarray(value)
            for name, value in columns.items()
            if name.startswith(prefix)
        }
        codes = member.judge(measures)
        for row in np.flatnonzero(codes):
            objections[row].append(prefix + member.reasons[codes[row] - 1])
    return Verdicts(np.array([not found for found in objections], np.bool_), objections)
