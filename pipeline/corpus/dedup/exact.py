"""Copies: documents of one content key, or of one address. The most preferred stays."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.corpus.arrow_arrays import number_array
from pipeline.corpus.dedup.keys import CONTENT_KEY_BYTES
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.spill import Spill
from pipeline.corpus.words import I64, U64

_CONTENT = np.dtype([("high", np.uint64), ("low", np.uint64), ("rank", np.int32)])


def remove_copies(pool: Pool, column: str, reason: int, scratch: Path, *, jaccard: float) -> None:
    """Of the documents with one value of `column` (`key` or `url_key`) only the first stays.

    Held-out documents are left out: what equals them never got this far.
    """
    spill = Spill(scratch, column, _CONTENT, len(pool))
    for segment in range(len(pool.segments)):
        ranks = pool.ranks_of(segment)
        with pool.segments.opened(segment) as table:
            values = table.column(column)
            usable = values.is_valid().to_numpy() & (pool.reason[ranks] == STAYS)
            usable &= ranks >= pool.num_held_out
            records = np.empty(int(usable.sum()), _CONTENT)
            records["high"], records["low"] = _numbers(values, usable)
        records["rank"] = ranks[usable]
        spill.add(spill.by_range(records["high"], 1 << 64), records)
    for partition in range(spill.partitions):
        _remove(pool, spill.read(partition), reason, jaccard)


def _numbers(values: pa.ChunkedArray, usable: np.ndarray) -> tuple[U64, U64]:
    """The usable values as (high, low) 64 bits."""
    array = values.filter(number_array(usable)).combine_chunks()
    if pa.types.is_uint64(array.type):
        high: U64 = array.to_numpy(zero_copy_only=False)
        return high, np.zeros(len(array), np.uint64)
    data = np.frombuffer(array.buffers()[1] or b"", np.uint64)
    start = array.offset * (CONTENT_KEY_BYTES // 8)
    pairs = data[start : start + 2 * len(array)].reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _remove(pool: Pool, records: np.ndarray, reason: int, jaccard: float) -> None:
    order = np.lexsort((records["rank"], records["low"], records["high"]))
    records = records[order]
    same = np.zeros(len(records), np.bool_)
    same[1:] = (records["high"][1:] == records["high"][:-1]) & (
        records["low"][1:] == records["low"][:-1]
    )
    firsts: I64 = np.maximum.accumulate(np.where(same, 0, np.arange(len(records))))
    rank = records["rank"].astype(np.int64)
    leaves = same & (rank >= pool.num_fixed)
    pool.remove(rank[leaves], reason, rank[firsts[leaves]], jaccard)
