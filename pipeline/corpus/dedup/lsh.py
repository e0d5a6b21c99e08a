"""Which documents are worth comparing: those whose signatures are equal in at least one band.

With 14 bands of 8 rows a pair of Jaccard similarity s meets with probability 1 - (1 - s^8)^14:
0.92 at 0.8, 0.56 at 0.7, 0.05 at 0.5 (FineWeb's setting, Penedo et al. 2024).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.kernels import band_keys, crowd_pairs, unite_buckets
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.segments import flat
from pipeline.corpus.dedup.spill import Spill
from pipeline.corpus.words import I64, U64, ascending

ALL_PAIRS_UP_TO = 64
"""A larger bucket compares each member with a few only, so that its cost stays linear."""
CROWD_FIRST, CROWD_NEAR = 16, 16
"""In a larger bucket: the most preferred members, and those just before in preference (of nearly
the same length, where copies of one another are found)."""
_BAND = np.dtype([("key", np.uint64), ("rank", np.int32)])
_PIECE = 65_536  # documents whose keys are computed at a time


@dataclass
class Found:
    """Candidates as they come out of the buckets."""

    pairs: Spill
    """(later << 32) | earlier, by range of the later rank."""
    crowded_buckets: int = 0
    """Buckets so large that not every pair in them was taken."""


def spill_bands(pool: Pool, bands: int, scratch: Path) -> list[Spill]:
    """One spill of (key, rank) per band, of the documents that stay so far and have shingles."""
    spills = [Spill(scratch, f"band{band}", _BAND, len(pool)) for band in range(bands)]
    for segment in range(len(pool.segments)):
        ranks = pool.ranks_of(segment)
        with pool.segments.opened(segment) as table:
            column = table.column("signature")
            size = column.type.list_size
            for first in range(0, len(ranks), _PIECE):
                here = ranks[first : first + _PIECE]
                signatures = flat(column.slice(first, _PIECE)).reshape(-1, size)
                keys = np.empty((bands, len(here)), np.uint64)
                band_keys(signatures, bands, keys)
                usable = (pool.reason[here] == STAYS) & (pool.num_shingles[here] > 0)
                _add(spills, keys[:, usable], here[usable])
    return spills


def _add(spills: list[Spill], keys: U64, ranks: npt.NDArray[np.int32]) -> None:
    for spill, key in zip(spills, keys, strict=True):
        records = np.empty(len(ranks), _BAND)
        records["key"], records["rank"] = key, ranks
        spill.add(spill.by_range(key, 1 << 64), records)


def find_pairs(
    pool: Pool,
    bands: list[Spill],
    scratch: Path,
    *,
    only_held_out: bool,
    parents: npt.NDArray[np.int32] | None = None,
) -> Found:
    """The pairs of each bucket, held-out documents' only or all; the later one may always leave.

    With `parents` (M,), whatever shares a bucket is united in it, held-out documents apart.
    """
    found = Found(Spill(scratch, "pairs", np.uint64, 4 * len(pool)))
    for spill in bands:
        for partition in range(spill.partitions):
            keys, ranks = _buckets(spill.read(partition))
            if parents is not None:
                training = ranks >= pool.num_held_out
                unite_buckets(keys[training], ranks[training], parents)
            if only_held_out:
                keys, ranks = _with_held_out(keys, ranks, pool.num_held_out)
            _emit(found, pool, keys, ranks)
    return found


def _buckets(records: npt.NDArray[np.void]) -> tuple[U64, npt.NDArray[np.int32]]:
    """(keys, ranks) of the records whose key occurs again, by key and rank."""
    order = np.argsort(records["key"])
    keys = records["key"][order]
    same = keys[1:] == keys[:-1]
    again = np.zeros(len(keys), np.bool_)
    again[1:] |= same
    again[:-1] |= same
    keys, ranks = keys[again], records["rank"][order[again]]
    order = np.lexsort((ranks, keys))
    return keys[order], ranks[order]


def _with_held_out(
    keys: U64, ranks: npt.NDArray[np.int32], num_held_out: int
) -> tuple[U64, npt.NDArray[np.int32]]:
    """Only the buckets whose first member is held out."""
    is_head = np.diff(keys, prepend=~keys[:1]) != 0
    first = np.maximum.accumulate(np.where(is_head, np.arange(len(keys)), 0))
    wanted = ranks[first] < num_held_out if len(keys) else np.zeros(0, np.bool_)
    return keys[wanted], ranks[wanted]


def _emit(found: Found, pool: Pool, keys: U64, ranks: npt.NDArray[np.int32]) -> None:
    """Spill the pairs of whole buckets, some millions at a time."""
    heads = np.flatnonzero(np.diff(keys, prepend=~keys[:1]) != 0) if len(keys) else _NONE
    sizes = np.diff(np.append(heads, len(keys)))
    found.crowded_buckets += int((sizes > ALL_PAIRS_UP_TO).sum())
    most = np.where(
        sizes > ALL_PAIRS_UP_TO, sizes * (CROWD_FIRST + CROWD_NEAR), sizes * (sizes - 1) // 2
    )
    group = np.cumsum(most) // _PAIRS_AT_ONCE
    for some in np.split(np.arange(len(heads)), np.flatnonzero(np.diff(group)) + 1):
        if not len(some):
            continue
        codes = np.empty(int(most[some].sum()), np.uint64)
        count = crowd_pairs(
            ranks, heads[some], sizes[some], pool.num_fixed,
            ALL_PAIRS_UP_TO, CROWD_FIRST, CROWD_NEAR, codes,
        )  # fmt: skip
        codes = ascending(codes[:count])
        later = (codes >> np.uint64(32)).astype(np.int64)
        found.pairs.add(found.pairs.by_range(later, len(pool)), codes)


_NONE: I64 = np.zeros(0, np.int64)
_PAIRS_AT_ONCE = 1_000_000  # 8 MB, some times over
