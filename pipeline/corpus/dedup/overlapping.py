"""Documents that repeat held-out text: they leave, or lose the bytes that repeat it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.cleaned import CUT_SCHEMA
from pipeline.corpus.dedup.held_out import HeldOut, most_shared
from pipeline.corpus.dedup.pool import Pool
from pipeline.corpus.dedup.removal import HELD_OUT_COVERED, HELD_OUT_OVERLAP, number_of
from pipeline.corpus.dedup.segments import CURRENT
from pipeline.corpus.dedup.settings import DecontaminationConfig

HELD_OUT_TEXT = "held_out_text"


@dataclass(frozen=True)
class Trimmed:
    """What is cut of the documents of one segment that stay, in CUT_SCHEMA."""

    segment: int
    cuts: pa.Table


def judge_overlap(pool: Pool, held_out: HeldOut, config: DecontaminationConfig) -> list[Trimmed]:
    """Let overlapping documents leave or be trimmed; the ranks of held-out documents are theirs."""
    trimmed = []
    for segment, member in enumerate(pool.segments.members):
        if member.kind != CURRENT:
            continue
        with pool.segments.opened(segment) as table:
            overlap = table.column("overlap").to_numpy()
            covered = table.column("covered").to_numpy()
            rows = np.flatnonzero((overlap > config.max_overlap) | (covered > config.max_covered))
            if not len(rows):
                continue
            some = table.select(["doc_id", "bytes", "held_out_grams", "held_out_spans"]).take(
                pa.array(rows)
            )
            ranks = pool.ranks_of(segment)[rows]
            owners = [most_shared(held_out, grams) for grams in _lists(some, "held_out_grams")]
            spans = [np.array(s, np.int64).reshape(-1, 2) for s in _lists(some, "held_out_spans")]
            lost = np.array([int((s[:, 1] - s[:, 0]).sum()) for s in spans])
            size = some.column("bytes").to_numpy()
            leaves = (lost > config.max_trimmed * size) | (lost >= size) | (config.action == "drop")
            reason = np.where(
                overlap[rows] > config.max_overlap,
                number_of(HELD_OUT_OVERLAP),
                number_of(HELD_OUT_COVERED),
            )
            twins = np.array([-1 if owner is None else pool.rank[owner] for owner in owners])
            pool.reason[ranks[leaves]] = reason[leaves]
            pool.twin[ranks[leaves]] = twins[leaves]
            if not leaves.all():
                cuts = _cuts(pool, held_out, rows, some, spans, owners, ~leaves)
                trimmed.append(Trimmed(segment, cuts))
    return trimmed


def _cuts(
    pool: Pool,
    held_out: HeldOut,
    rows: npt.NDArray[np.int64],
    some: pa.Table,
    spans: list[npt.NDArray[np.int64]],
    owners: list[int | None],
    stays: npt.NDArray[np.bool_],
) -> pa.Table:
    ids = some.column("doc_id").to_pylist()
    found = []
    for i in np.flatnonzero(stays).tolist():
        owner = owners[i]
        named = (
            (None, None) if owner is None else (held_out.doc_ids[owner], held_out.set_names[owner])
        )
        for begin, end in spans[i].tolist():
            found.append((int(rows[i]), ids[i], begin, end, HELD_OUT_TEXT, *named))
    columns = list(zip(*found, strict=True)) or [()] * len(CUT_SCHEMA)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, CUT_SCHEMA, strict=True)]
    return pa.table(arrays, schema=CUT_SCHEMA)


def _lists(table: pa.Table, name: str) -> list[list[int]]:
    lists: list[list[int]] = table.column(name).to_pylist()
    return lists
