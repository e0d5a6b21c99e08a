"""Every rule that objects to a document, also those behind the first one of the same filter.

A filter names one reason per document. To hear the others, each of its measures is put, alone,
into a document that the filter keeps: what it then objects to is this measure's doing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.filters.base import Filter, Step
from pipeline.corpus.filters.judging import applicable, labels_of
from pipeline.corpus.measured import MeasuredPart

Row = Mapping[str, Any]
Masks = dict[str, npt.NDArray[np.bool_]]
"""(N,) by reason `label.reason`: to which documents it objects."""
_SEEN_ROWS = 2_000
_MAX_NEUTRAL = 6  # documents per step that differ in script or another truth value


@dataclass(frozen=True)
class Asked:
    """One filter of a chain, and documents that it keeps: one per combination of its flags."""

    step: Filter
    label: str
    neutral: dict[tuple[Any, ...], Row]
    """Measures by name, by the values of those that are no numbers."""


def asked_filters(steps: Sequence[Step], parts: Iterable[MeasuredPart]) -> list[Asked]:
    """The filters among `steps`; one that keeps none of a part's first documents stays mute."""
    asked = [
        Asked(step, label, {})
        for step, label in zip(steps, labels_of(steps), strict=True)
        if isinstance(step, Filter)
    ]
    for part in parts:
        head = part.table.slice(0, _SEEN_ROWS).to_pylist()
        for one in asked:
            _collect(one, part.languages[: len(head)], head)
        if all(len(one.neutral) >= _MAX_NEUTRAL for one in asked):
            break
    return asked


def row_of(label: str, record: Mapping[str, Any]) -> Row:
    """The measures of one step from a document's record, by their names."""
    prefix = f"{label}."
    return {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix)
    }


def flags_of(row: Row) -> tuple[Any, ...]:
    """The measures that are no numbers: they choose which thresholds hold."""
    return tuple(value for value in row.values() if isinstance(value, bool | np.bool_ | str))


def judge_rows(
    step: Filter, row: Row, moved: Mapping[str, npt.NDArray[Any]], count: int
) -> npt.NDArray[np.int16]:
    """(N,) codes for `count` copies of `row` in which the measures `moved` have other values."""
    measures = {name: np.repeat(np.asarray([value]), count) for name, value in row.items()}
    return step.judge(measures | dict(moved))


def keeps(step: Filter, row: Row) -> bool:
    """Whether the filter keeps a document with these measures."""
    return int(judge_rows(step, row, {}, 1)[0]) == 0


def _collect(one: Asked, languages: Sequence[str | None], head: Sequence[Row]) -> None:
    if len(one.neutral) >= _MAX_NEUTRAL or not head:
        return
    columns = row_of(one.label, {name: name for name in head[0]})
    if not columns:
        return
    for number in np.flatnonzero(applicable(one.step, languages)):
        record = head[int(number)]
        row = {name: record[column] for name, column in columns.items()}
        flags = flags_of(row)
        if flags in one.neutral or any(value is None for value in row.values()):
            continue
        if keeps(one.step, row) and len(one.neutral) < _MAX_NEUTRAL:
            one.neutral[flags] = row


def all_objections(asked: Sequence[Asked], part: MeasuredPart) -> Masks:
    """(N,) per reason; a document that a filter keeps is objected to by none of its rules."""
    masks: Masks = {}
    for reason in {reason for found in part.objections for reason in found}:
        masks[reason] = np.array([reason in found for found in part.objections], np.bool_)
    for one in asked:
        rows = np.flatnonzero(applicable(one.step, part.languages))
        measures = {
            name.removeprefix(f"{one.label}."): part.column(name)[rows]
            for name in part.measure_names
            if name.startswith(f"{one.label}.")
        }
        if not measures or not len(rows):
            continue
        failing = one.step.judge(measures) != 0
        rows, measures = rows[failing], {name: v[failing] for name, v in measures.items()}
        for codes in _alone(one, measures, len(rows)):
            for code in np.unique(codes[codes > 0]):
                reason = f"{one.label}.{one.step.reasons[code - 1]}"
                mask = masks.setdefault(reason, np.zeros(len(part), np.bool_))
                mask[rows[codes == code]] = True
    return masks


def _alone(
    one: Asked, measures: Mapping[str, npt.NDArray[Any]], count: int
) -> Iterable[npt.NDArray[np.int16]]:
    """For each measure, (count,) codes when it alone differs from a kept document."""
    flags = {name: v for name, v in measures.items() if v.dtype.kind not in "iuf"}
    numbers = {name: v for name, v in measures.items() if v.dtype.kind in "iuf"}
    combinations = list(zip(*(v.tolist() for v in flags.values()), strict=True)) or [()] * count
    for flag, row in one.neutral.items():
        chosen = np.array([combination == flag for combination in combinations], np.bool_)
        if not chosen.any():
            continue
        for name, values in numbers.items():
            codes = np.zeros(count, np.int16)
            codes[chosen] = judge_rows(one.step, row, {name: values[chosen]}, int(chosen.sum()))
            yield codes
