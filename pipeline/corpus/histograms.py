"""How the values of every measure are distributed, the kept documents apart from those gone.

    pass 1: range of each measure over all parts -> edges; pass 2: counts -> Histogram

Ranges that span orders of magnitude get logarithmic bins. Memory: one part and the counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.measured import KEPT, MeasuredPart, known

BINS = 48
_LOG_RATIO = 30.0  # guess: between the 5th and the 99.5th percentile a linear axis shows no more
_RESERVOIR = 2_000  # values per part by which the shape of a distribution is judged


@dataclass(frozen=True)
class Histogram:
    """One measure over a corpus; B bins."""

    column: str
    edges: npt.NDArray[np.float64]
    """(B + 1,) ascending."""
    kept: npt.NDArray[np.int64]
    """(B,) documents that stayed."""
    gone: npt.NDArray[np.int64]
    """(B,) documents that left, for whatever reason."""
    is_log: bool
    not_measured: int
    """Documents to which the step does not apply."""

    @property
    def documents(self) -> int:
        """All that were measured."""
        return int(self.kept.sum() + self.gone.sum())

    @property
    def is_constant(self) -> bool:
        """Whether every document has the same value."""
        return bool(np.count_nonzero(self.kept + self.gone) <= 1)


@dataclass
class _Range:
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    sample: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def see(self, values: npt.NDArray[Any]) -> None:
        if not len(values):
            return
        self.whole &= values.dtype.kind in "iub"
        numbers = values.astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            self.low, self.high = min(self.low, numbers.min()), max(self.high, numbers.max())
            self.sample.append(numbers[:: max(1, len(numbers) // _RESERVOIR)])

    @property
    def is_log(self) -> bool:
        values = np.concatenate(self.sample) if self.sample else np.zeros(0)
        positive = values[values > 0]
        if not len(positive) or self.low < 0 or self.high <= 1:
            return False
        few, many = np.percentile(positive, (5, 99.5))
        return bool(many > _LOG_RATIO * max(float(few), 1.0))

    def edges(self) -> npt.NDArray[np.float64]:
        if not np.isfinite(self.low):
            return np.array([0.0, 1.0])
        low, high = self.low, self.high
        if self.is_log:
            start = max(low, 1.0 if self.whole else high * 1e-6)
            inner = np.geomspace(start, high * (1 + 1e-9), BINS + 1)
            inner = np.unique(np.floor(inner)) if self.whole else inner
            inner[-1] = high + 1 if self.whole else inner[-1]
            return inner if low >= start else np.concatenate([[min(low, 0.0)], inner])
        if not self.whole and low >= 0 and high <= 1:
            low, high = 0.0, 1.0 if high > 0.5 else max(_rounded_up(high), 1e-6)
        if self.whole and high - low < BINS:
            return np.arange(np.floor(low), np.floor(high) + 2)
        return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _rounded_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value))


def histograms(parts: Sequence[MeasuredPart] | Iterable[MeasuredPart]) -> list[Histogram]:
    """One histogram per numeric measure, in the order of the columns.

    `parts` is gone through twice: hand over a list, or something that starts anew each time.
    """
    ranges: dict[str, _Range] = {}
    for part in parts:
        for name in part.measure_names:
            values = part.column(name)
            if values.dtype.kind in "iuf":
                ranges.setdefault(name, _Range()).see(values[known(part.table, name)])
    edges = {name: seen.edges() for name, seen in ranges.items()}
    counts = {name: np.zeros((2, len(edge) - 1), np.int64) for name, edge in edges.items()}
    missing = dict.fromkeys(edges, 0)
    for part in parts:
        stayed = np.array([fate == KEPT for fate in part.fates], np.bool_)
        for name, edge in edges.items():
            if name not in part.measure_names:
                missing[name] += len(part)
                continue
            there = known(part.table, name)
            missing[name] += int((~there).sum())
            values = part.column(name)
            for line, rows in enumerate((there & stayed, there & ~stayed)):
                inside = np.clip(values[rows].astype(np.float64), edge[0], edge[-1])
                counts[name][line] += np.histogram(inside, edge)[0]
    return [
        Histogram(name, edge, counts[name][0], counts[name][1], ranges[name].is_log, missing[name])
        for name, edge in edges.items()
    ]
