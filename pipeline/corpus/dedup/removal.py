"""Why a document leaves when all parts are seen together, and how that is written down.

too much of it is held-out text  held_out_overlap
too much of a held-out document  held_out_covered
equal but for white space        exact_duplicate
of one address (off by default)  duplicate_url
alike (LSH, then true Jaccard)   held_out_near_duplicate, near_duplicate
little but lines found elsewhere repeated_lines (off by default)
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.arrow_arrays import number_array, string_array
from pipeline.corpus.dedup.pool import GONE, I32, Pool
from pipeline.corpus.words import I64

HELD_OUT_OVERLAP = "held_out_overlap"
HELD_OUT_COVERED = "held_out_covered"
HELD_OUT_NEAR_DUPLICATE = "held_out_near_duplicate"
EXACT_DUPLICATE = "exact_duplicate"
DUPLICATE_URL = "duplicate_url"
NEAR_DUPLICATE = "near_duplicate"
REPEATED_LINES = "repeated_lines"
REASONS = (
    "", HELD_OUT_OVERLAP, HELD_OUT_COVERED, HELD_OUT_NEAR_DUPLICATE,
    EXACT_DUPLICATE, DUPLICATE_URL, NEAR_DUPLICATE, REPEATED_LINES,
)  # fmt: skip
"""What the numbers in Pool.reason mean; 0 stays."""
OF_OTHERS = (EXACT_DUPLICATE, DUPLICATE_URL, NEAR_DUPLICATE, HELD_OUT_NEAR_DUPLICATE)
"""Reasons that name another document as the one of the group that stays."""

REMOVED_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # in the part's documents.arrow
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        # The document it repeats; of held-out text the one it shares most with. Null without one.
        pa.field("duplicate_of", pa.string()),
        # Held-out set or earlier corpus of that document; null for one of this corpus.
        pa.field("duplicate_in", pa.string()),
        pa.field("jaccard", pa.float64()),  # 1 for exact duplicates, null where not compared
        # The one of the group that stays in the end; null when none of this corpus does.
        pa.field("keeper", pa.string()),
        pa.field("overlap", pa.float64(), nullable=False),
        pa.field("covered", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)


def number_of(reason: str) -> int:
    """The number of a reason in Pool.reason."""
    return REASONS.index(reason)


def follows_another(pool: Pool) -> npt.NDArray[np.bool_]:
    """(M,) whether a document left because of another one of its group."""
    table = np.zeros(256, np.bool_)
    table[[number_of(reason) for reason in OF_OTHERS]] = True
    return table[pool.reason]


def keepers_of(pool: Pool) -> I32:
    """(M,) the rank that stays in the end of each one's group: its own unless it repeats another.

    -1 where the group has nobody left.
    """
    keeper = np.where(follows_another(pool), pool.twin, np.arange(len(pool), dtype=np.int32))
    while True:  # a copy's original may be a near-duplicate: three steps at most
        further = keeper[keeper]
        if np.array_equal(further, keeper):
            break
        keeper = further
    keeper[pool.reason[keeper] != 0] = -1
    return keeper


def removed_table(pool: Pool, segment: int, keepers: I32) -> pa.Table:
    """The removal list of a part in REMOVED_SCHEMA, rows ascending."""
    ranks = pool.ranks_of(segment).astype(np.int64)
    gone = pool.reason[ranks]
    rows = np.flatnonzero((gone != 0) & (gone != GONE))
    ranks = ranks[rows]
    twins, keeper = pool.twin[ranks].astype(np.int64), keepers[ranks].astype(np.int64)
    jaccard = np.round(pool.jaccard[ranks].astype(np.float64), 6)
    keeper[keeper < pool.num_fixed] = -1
    with pool.segments.opened(segment) as table:
        own = table.select(["doc_id", "overlap", "covered", "bytes"]).take(number_array(rows))
        own = pa.table({name: own.column(name).combine_chunks() for name in own.column_names})
        columns = {
            "row": number_array(rows),
            "doc_id": own.column("doc_id"),
            "reason": string_array([REASONS[number] for number in gone[rows]]),
            "duplicate_of": _ids(pool, twins),
            "duplicate_in": _places(pool, twins),
            "jaccard": number_array(jaccard, missing=np.isnan(jaccard)),
            "keeper": _ids(pool, keeper),
            **{name: own.column(name) for name in ("overlap", "covered", "bytes")},
        }
        return pa.table([columns[name] for name in REMOVED_SCHEMA.names], schema=REMOVED_SCHEMA)


def write_table(path: Path, table: pa.Table) -> None:
    """One Arrow IPC file."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def _ids(pool: Pool, ranks: I64) -> pa.Array:
    """Document ids, null for -1."""
    known = np.flatnonzero(ranks >= 0)
    ids: list[str | None] = [None] * len(ranks)
    for place, name in zip(known.tolist(), pool.ids(ranks[known]), strict=True):
        ids[place] = name
    return string_array(ids)


def _places(pool: Pool, ranks: I64) -> pa.Array:
    """Name of the held-out set or earlier corpus of each rank; null for this corpus and for -1."""
    names: list[str | None] = [None] * len(ranks)
    outside = np.flatnonzero((ranks >= 0) & (ranks < pool.num_fixed))
    for segment, places, _ in pool.by_segment(ranks[outside]):
        for place in outside[places].tolist():
            names[place] = pool.segments.members[segment].source
    return string_array(names)
