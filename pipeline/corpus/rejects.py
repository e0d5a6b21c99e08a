"""What a filter turned away: the document whole, with the reason, beside the kept ones.

documents.arrow   kept            rejected.arrow   + reason, reasons
measures.parquet  one row per judged document, kept or not: doc_id, source, reason, measures
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.document import DOCUMENT_SCHEMA, TextBatch, iter_batches
from pipeline.corpus.filters.base import Filter
from pipeline.corpus.filters.judging import Verdicts, judge_all
from pipeline.store.errors import ConfigError

DOCUMENTS = "documents.arrow"
REJECTED = "rejected.arrow"
MEASURES = "measures.parquet"
EMPTY = "empty"
"""Reason for a document without a visible character; holds whatever the filters."""

REJECTED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("reason", pa.string(), nullable=False)).append(
    pa.field("reasons", pa.list_(pa.string()), nullable=False)
)


def rejected_table(batch: TextBatch, verdicts: Verdicts) -> pa.Table:
    """The rejected rows of a batch in REJECTED_SCHEMA."""
    rows = np.flatnonzero(~verdicts.keep)
    table = batch.table.take(pa.array(rows))
    first = [verdicts.objections[row][0] for row in rows]
    columns = [table.column(name) for name in DOCUMENT_SCHEMA.names]
    columns += [pa.array(first, pa.string())]
    columns += [pa.array([verdicts.objections[row] for row in rows], pa.list_(pa.string()))]
    return pa.table(columns, schema=REJECTED_SCHEMA)


def measures_table(
    batch: TextBatch, verdicts: Verdicts, columns: Mapping[str, npt.NDArray[Any]]
) -> pa.Table:
    """One row per judged document; `reason` is null for kept ones."""
    table = {"doc_id": batch.table.column("doc_id"), "source": batch.table.column("source")}
    table["reason"] = pa.array([reason or None for reason in verdicts.reasons], pa.string())
    return pa.table(table | {name: pa.array(values) for name, values in columns.items()})


def read_rejected(part: Path) -> Iterator[TextBatch]:
    """The rejected documents of a cleaned part, batch by batch, in order."""
    yield from iter_batches(part / REJECTED)


def rejudge(part: Path, filters: Sequence[Filter]) -> Verdicts:
    """Verdicts of other thresholds over a cleaned part, from its stored measures alone.

    Empty documents stay rejected. `filters` must be of kinds the part was measured with.
    """
    table = pq.read_table(part / MEASURES)
    columns = {name: table.column(name).to_numpy() for name in table.column_names if "." in name}
    known = {name.split(".")[0] for name in columns}
    unknown = [member.name for member in filters if member.name not in known]
    if unknown:
        raise ConfigError(
            f"{part} holds no measures of the filter {unknown[0]!r}, only of {sorted(known)}; "
            "run clean with that filter once"
        )
    verdicts = judge_all(filters, columns, table.num_rows)
    empty = [reason == EMPTY for reason in table.column("reason").to_pylist()]
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
