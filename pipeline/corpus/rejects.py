"""What a filter turned away: the document whole, with the reason, beside the kept ones.

documents.arrow   kept            rejected.arrow   + reason, reasons
measures.parquet  one row per judged document, kept or not: where it came from, reason, measures
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.arrow_arrays import number_array, string_array, string_lists
from pipeline.corpus.document import (
    CLEANED_SCHEMA,
    TextBatch,
    iter_batches,
    metadata_column,
)
from pipeline.corpus.filters.base import Filter, Step
from pipeline.corpus.filters.judging import Columns, Verdicts, judge_all, labels_of
from pipeline.store.errors import ConfigError

DOCUMENTS = "documents.arrow"
REJECTED = "rejected.arrow"
MEASURES = "measures.parquet"
EMPTY = "empty"
"""Reason for a document without a visible character; holds whatever the filters."""

REJECTED_SCHEMA = CLEANED_SCHEMA.append(pa.field("reason", pa.string(), nullable=False)).append(
    pa.field("reasons", pa.list_(pa.string()), nullable=False)
)


def cleaned_table(
    batch: TextBatch, languages: Sequence[str | None], keep: npt.NDArray[np.bool_]
) -> pa.Table:
    """The kept rows of a batch in CLEANED_SCHEMA."""
    table = batch.table.select(CLEANED_SCHEMA.names[:-1])
    return (
        table.append_column("language", [_strings(languages)])
        .filter(number_array(keep))
        .cast(CLEANED_SCHEMA)
    )


def rejected_table(
    batch: TextBatch, languages: Sequence[str | None], verdicts: Verdicts
) -> pa.Table:
    """The rejected rows of a batch in REJECTED_SCHEMA."""
    rows = np.flatnonzero(~verdicts.keep)
    table = cleaned_table(batch, languages, ~verdicts.keep)
    columns = [table.column(name) for name in CLEANED_SCHEMA.names]
    columns += [string_array([verdicts.objections[row][0] for row in rows])]
    columns += [string_lists([verdicts.objections[row] for row in rows])]
    return pa.table(columns, schema=REJECTED_SCHEMA)


def measures_table(
    batch: TextBatch,
    languages: Sequence[str | None],
    verdicts: Verdicts,
    columns: Mapping[str, npt.NDArray[Any]],
    applied: Mapping[str, npt.NDArray[np.bool_]],
) -> pa.Table:
    """One row per judged document; a measure is null where its step did not apply.

    `reason` is null for kept documents, `reasons` holds every objection.
    """
    table = {"doc_id": batch.table.column("doc_id"), "source": batch.table.column("source")}
    table |= {key: _strings(metadata_column(batch, key)) for key in ("file", "row")}
    table["language"] = _strings(languages)
    table["bytes"] = number_array(batch.num_bytes)
    table["reason"] = string_array([reason or None for reason in verdicts.reasons])
    table["reasons"] = string_lists(verdicts.objections)
    for name, values in columns.items():
        mask = applied.get(name.partition(".")[0])
        # Strings by name: of a batch in which no document has one the type could not be told.
        missing = None if mask is None or mask.all() else ~mask
        if values.dtype.hasobject:
            table[name] = pa.array(values, pa.string(), mask=missing)
        else:
            table[name] = number_array(values, missing=missing)
    return pa.table(table)


def _strings(values: Sequence[str | None]) -> pa.Array:
    return string_array(values)


def read_rejected(part: Path) -> Iterator[TextBatch]:
    """The rejected documents of a cleaned part, batch by batch, in order."""
    yield from iter_batches(part / REJECTED)


def languages_of_rows(part: Path, rows: npt.NDArray[np.int64]) -> list[str | None]:
    """The languages of some rows of a cleaned part's documents."""
    if not len(rows):
        return []
    batches = [batch.table for batch in iter_batches(part / DOCUMENTS, ["language"])]
    languages: list[str | None] = (
        pa.concat_tables(batches).column("language").take(number_array(rows)).to_pylist()
    )
    return languages


@dataclass(frozen=True)
class Stored:
    """What a cleaned part remembers of its N judged documents."""

    table: pa.Table
    """measures.parquet."""
    columns: Columns
    """(N,) measures; rows a step did not apply to hold zero or ""."""
    languages: list[str | None]


def read_measures(part: Path) -> Stored:
    """The measures of a cleaned part, ready to be judged again."""
    table = pq.read_table(part / MEASURES)
    columns: Columns = {}
    for name in table.column_names:
        if "." in name:
            column = table.column(name)
            empty: Any = "" if pa.types.is_string(column.type) else 0
            if column.null_count:
                column = column.fill_null(pa.scalar(empty).cast(column.type))
            columns[name] = column.to_numpy()
    return Stored(table, columns, table.column("language").to_pylist())


def rejudge(part: Path, steps: Sequence[Step]) -> Verdicts:
    """Verdicts of other thresholds over a cleaned part, from its stored measures alone.

    Empty documents stay rejected. Raises ConfigError for a filter the part was not measured with,
    be it at all or for documents in one of its languages.
    """
    stored = read_measures(part)
    known = {name.partition(".")[0] for name in stored.columns}
    for step, label in zip(steps, labels_of(steps), strict=True):
        if isinstance(step, Filter) and label not in known:
            raise ConfigError(
                f"{part} holds no measures of the filter {label!r}, only of {sorted(known)}; "
                "run clean with that filter once"
            )
    verdicts = judge_all(steps, stored.columns, stored.languages)
    empty = [reason == EMPTY for reason in stored.table.column("reason").to_pylist()]
    return with_empty(verdicts, np.array(empty, np.bool_))


def with_empty(verdicts: Verdicts, empty: npt.NDArray[np.bool_]) -> Verdicts:
    """The verdicts with EMPTY put before all other objections where `empty` (N,) is true."""
    if not empty.any():
        return verdicts
    objections = [
        [EMPTY, *found] if nothing else found
        for found, nothing in zip(verdicts.objections, empty, strict=True)
    ]
    return Verdicts(verdicts.keep & ~empty, objections)


def count_reasons(verdicts: Verdicts) -> dict[str, int]:
    """How many documents each first reason rejected, by name."""
    return dict(sorted(Counter(reason for reason in verdicts.reasons if reason).items()))
