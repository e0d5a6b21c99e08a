"""Where a filter draws its lines, found by asking it: no filter declares its thresholds twice.

A filter judges measures alone, so a document that it keeps is taken, one measure is moved up and
down, and the value is found at which the verdict turns.

    kept document, words=350 -> 349, ..., 20, 19: too_few_words      Threshold("words", 20, "above")
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.corpus.filters.base import Filter, Step
from pipeline.corpus.filters.judging import applicable, labels_of
from pipeline.corpus.measured import MeasuredPart

Row = Mapping[str, Any]
_BISECTIONS = 70  # a double has 52 bits and the steps of the ladder are far less than 2**18 apart
_LARGEST = 1e12
_ASKED_ROWS = 6  # documents per step that differ in script or language
_SEEN_ROWS = 2_000


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


def corpus_thresholds(
    steps: Sequence[Step], parts: Iterable[MeasuredPart]
) -> dict[str, list[Threshold]]:
    """By column, the thresholds of all filters among `steps`, around documents of the corpus.

    A filter that keeps none of the first documents of any part has none.
    """
    filters = [
        (step, label)
        for step, label in zip(steps, labels_of(steps), strict=True)
        if isinstance(step, Filter)
    ]
    rows: dict[int, dict[tuple[Any, ...], Row]] = {i: {} for i in range(len(filters))}
    for part in parts:
        for i, (step, label) in enumerate(filters):
            if len(rows[i]) < _ASKED_ROWS:
                _collect(step, label, part, rows[i])
        if all(len(found) >= _ASKED_ROWS for found in rows.values()):
            break
    found: dict[str, dict[Threshold, None]] = {}
    for i, (step, label) in enumerate(filters):
        for threshold in thresholds_of(step, label, list(rows[i].values())):
            found.setdefault(threshold.column, {})[threshold] = None
    return {column: list(thresholds) for column, thresholds in found.items()}


def row_of(label: str, record: Mapping[str, Any]) -> Row:
    """The measures of one step from a document's record, by their names."""
    prefix = f"{label}."
    return {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix)
    }


def _collect(
    step: Filter, label: str, part: MeasuredPart, found: dict[tuple[Any, ...], Row]
) -> None:
    """Documents that the step keeps, one per combination of truth values and language."""
    head = part.table.slice(0, _SEEN_ROWS).to_pylist()
    applies = applicable(step, part.languages[: len(head)])
    for number in np.flatnonzero(applies):
        row = row_of(label, head[number])
        if not row or any(value is None for value in row.values()):
            continue
        flags = tuple(value for value in row.values() if isinstance(value, bool | str))
        if flags not in found and len(found) < _ASKED_ROWS and _keeps(step, row):
            found[flags] = row


def _keeps(step: Filter, row: Row) -> bool:
    return int(_judge(step, row, {}, 1)[0]) == 0


def thresholds_of(step: Filter, label: str, rows: Sequence[Row]) -> list[Threshold]:
    """The turning points of every measure around `rows`: measures of some documents, by name.

    Rows that the filter turns away are passed over: with one objection standing no other shows. A
    threshold that differs between rows (by script, say) is listed once per value.
    """
    found: dict[Threshold, None] = {}
    for row in rows:
        if not _keeps(step, row):
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
        codes = _judge(step, row, {measure: _typed(ladder, whole)}, len(ladder))
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
    """The last kept value between one that is kept and one that is not, and the reason there."""
    for _ in range(_BISECTIONS):
        middle = (kept + gone) / 2
        if whole:
            middle = float(np.floor(middle))
        if middle in (kept, gone):
            break
        verdict = int(_judge(step, row, {measure: _typed(np.array([middle]), whole)}, 1)[0])
        if verdict:
            gone, code = middle, verdict
        else:
            kept = middle
    return _simplest(kept, gone), code


def _simplest(kept: float, gone: float) -> float:
    """`kept` without the noise of its last bits: bounds such as `< 0.8` end one bit beside 0.8."""
    for digits in range(1, 16):
        short = float(f"{kept:.{digits}g}")
        if abs(short - kept) <= 2 * np.spacing(abs(kept)) + abs(gone - kept):
            return short
    return kept


def _typed(values: npt.NDArray[np.float64], whole: bool) -> npt.NDArray[Any]:
    return values.astype(np.int64) if whole else values


def _judge(
    step: Filter, row: Row, moved: Mapping[str, npt.NDArray[Any]], count: int
) -> npt.NDArray[np.int16]:
    measures = {name: np.repeat(np.asarray([value]), count) for name, value in row.items()}
    return step.judge(measures | dict(moved))
