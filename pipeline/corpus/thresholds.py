"""Where a filter draws its lines, found by asking it: no filter declares its thresholds twice.

A filter judges measures alone, so a document that it keeps is taken, one measure is moved up and
down, and the value is found at which the verdict turns.

    kept document, words=350 -> 349, ..., 20, 19: too_few_words      Threshold("words", 20, "above")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.removal import HELD_OUT_COVERED, HELD_OUT_OVERLAP
from pipeline.corpus.filters.base import Filter
from pipeline.corpus.objections import Asked, Row, judge_rows, keeps

_BETWEEN = 63
_ROUNDS = 12  # 64**12 = 2**72: a double has 52 bits, the ladder's steps are below 2**18 of them
_LARGEST = 1e12


@dataclass(frozen=True)
class Threshold:
    """One turning point of one measure."""

    label: str
    """The step's prefix: `gopher_quality`."""
    measure: str
    value: float
    """The last value that is kept."""
    keeps: Literal["above", "below"]
    """Which side of the value, itself included, is kept."""
    reason: str
    """`gopher_quality.too_few_words`."""

    @property
    def column(self) -> str:
        """The measure's column: `gopher_quality.words`."""
        return f"{self.label}.{self.measure}"

    def holds(self, value: float) -> bool:
        """Whether a document with this value is kept."""
        return value >= self.value if self.keeps == "above" else value <= self.value

    @property
    def bound(self) -> str:
        """`≥ 20`: what a document must fulfil to be kept."""
        return f"{'≥' if self.keeps == 'above' else '≤'} {in_short(self.value)}"


def in_short(value: float) -> str:
    """`0.143`, `20`, `100,000`: a measure's value for people."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def corpus_thresholds(asked: Sequence[Asked]) -> dict[str, list[Threshold]]:
    """By column, the thresholds of all filters asked; none of one that keeps nothing."""
    found: dict[str, dict[Threshold, None]] = {}
    for one in asked:
        for threshold in thresholds_of(one.step, one.label, list(one.neutral.values())):
            found.setdefault(threshold.column, {})[threshold] = None
    return {column: list(thresholds) for column, thresholds in found.items()}


def decontamination_thresholds(config: Mapping[str, Any]) -> dict[str, list[Threshold]]:
    """By column, how much held-out text a document of a corpus with this config may hold."""
    limits = config.get("decontamination", {})
    return {
        f"decontamination.{name}": [
            Threshold("decontamination", name, float(limits[f"max_{name}"]), "below", reason)
        ]
        for name, reason in (("overlap", HELD_OUT_OVERLAP), ("covered", HELD_OUT_COVERED))
        if f"max_{name}" in limits
    }


def thresholds_of(step: Filter, label: str, rows: Sequence[Row]) -> list[Threshold]:
    """The turning points of every measure around `rows`: measures of some documents, by name.

    Rows that the filter turns away are passed over: with one objection standing no other shows. A
    threshold that differs between rows (by script, say) is listed once per value.
    """
    found: dict[Threshold, None] = {}
    for row in rows:
        if not keeps(step, row):
            continue
        for measure, value in row.items():
            if isinstance(value, bool | np.bool_) or not isinstance(
                value, int | float | np.integer | np.floating
            ):
                continue
            for threshold in _turning_points(step, label, row, measure):
                found[threshold] = None
    return list(found)


def _turning_points(step: Filter, label: str, row: Row, measure: str) -> list[Threshold]:
    whole = isinstance(row[measure], int | np.integer)
    start = float(row[measure])
    found = []
    for direction in (-1, 1):
        ladder = _ladder(start, direction, whole=whole)
        codes = judge_rows(step, row, {measure: _typed(ladder, whole)}, len(ladder))
        turned = np.flatnonzero(codes)
        if len(turned):
            rung = int(turned[0])
            kept = start if rung == 0 else float(ladder[rung - 1])
            value, code = _bisected(
                step, row, measure, kept, float(ladder[rung]), int(codes[rung]), whole=whole
            )
            if value == 1 and direction > 0 and not whole and start <= 1:
                continue  # a share cannot exceed 1: this is how a limit is switched off
            keeps: Literal["above", "below"] = "above" if direction < 0 else "below"
            reason = f"{label}.{step.reasons[code - 1]}"
            found.append(Threshold(label, measure, value, keeps, reason))
    return found


def _ladder(start: float, direction: int, *, whole: bool) -> npt.NDArray[np.float64]:
    """Values from `start` outwards: fine steps in 0 to 1 where shares live, then ever larger."""
    shares = np.zeros(0) if whole else np.linspace(0, 1, 401)
    sizes = np.concatenate([np.arange(0, 200), np.geomspace(200, _LARGEST, 400)])
    rungs = np.unique(np.concatenate([shares, np.floor(sizes)]))
    beyond = rungs[rungs < start][::-1] if direction < 0 else rungs[rungs > start]
    return beyond


def _bisected(
    step: Filter, row: Row, measure: str, kept: float, gone: float, code: int, *, whole: bool
) -> tuple[float, int]:
    """The last kept value between one that is kept and one that is not, and the reason there.

    Each round asks about many values between the two at once: a call costs more than a value.
    """
    for _ in range(_ROUNDS):
        between = np.linspace(kept, gone, _BETWEEN + 2)[1:-1]
        between = np.unique(np.floor(between)) if whole else between
        between = between[(between != kept) & (between != gone)]
        if not len(between):
            break
        if whole and gone < kept:
            between = between[::-1]  # `unique` sorted it
        codes = judge_rows(step, row, {measure: _typed(between, whole)}, len(between))
        turned = np.flatnonzero(codes)
        if len(turned):
            first = int(turned[0])
            gone, code = float(between[first]), int(codes[first])
            kept = float(between[first - 1]) if first else kept
        else:
            kept = float(between[-1])
    return (kept if whole else _simplest(kept, gone)), code


def _simplest(kept: float, gone: float) -> float:
    """`kept` without the noise of its last bits: bounds such as `< 0.8` end one bit beside 0.8."""
    for digits in range(1, 16):
        short = float(f"{kept:.{digits}g}")
        if abs(short - kept) <= 2 * np.spacing(abs(kept)) + abs(gone - kept):
            return short
    return kept


def _typed(values: npt.NDArray[np.float64], whole: bool) -> npt.NDArray[Any]:
    return values.astype(np.int64) if whole else values
