"""Near-duplicates: candidate pairs are proved by their true similarity before anything leaves.

Documents are visited in the order of preference. One leaves when it is alike one that stays, so a
chain a~b~c loses only what resembles a survivor: transitive closure once dissolved whole sources
elsewhere. `closure: unverified` is that closure, for comparison with corpora made by it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.corpus.dedup.kernels import find_roots, shared, verify_pairs
from pipeline.corpus.dedup.lsh import Found, find_pairs, spill_bands
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig
from pipeline.corpus.words import I64

_SHINGLES_AT_ONCE = 8_000_000  # 32 MB of 32-bit shingles
_PAIRS_AT_ONCE = 250_000


def remove_near_duplicates(
    pool: Pool,
    dedup: DedupConfig,
    decontamination: DecontaminationConfig,
    *,
    held_out_reason: int,
    near_reason: int,
    scratch: Path,
) -> dict[str, int]:
    """Let near-duplicates leave; returns the counts of the search."""
    unverified = dedup.near and dedup.closure == "unverified"
    parents = np.arange(len(pool), dtype=np.int32) if unverified else None
    bands = spill_bands(pool, dedup.bands, scratch)
    only_held_out = unverified or not dedup.near
    found = find_pairs(pool, bands, scratch, only_held_out=only_held_out, parents=parents)
    facts = {"candidate_pairs": 0, "compared_pairs": 0, "crowded_buckets": found.crowded_buckets}
    for earlier, later in _pairs(found, pool, decontamination.near_duplicates, only_held_out):
        facts["candidate_pairs"] += len(later)
        facts["compared_pairs"] += _verify(
            pool, earlier, later, dedup.min_jaccard, held_out_reason, near_reason
        )
    if parents is not None:
        _close(pool, parents, near_reason)
    return facts


def _pairs(
    found: Found, pool: Pool, with_held_out: bool, only_held_out: bool
) -> Iterator[tuple[I64, I64]]:
    """Distinct (earlier, later) ranks by later, then earlier, some at a time."""
    spill = found.pairs
    for partition in range(spill.partitions):
        for codes in spill.read_ascending(partition):
            earlier = (codes & np.uint64(0xFFFFFFFF)).astype(np.int64)
            held_out = earlier < pool.num_held_out
            wanted = ~held_out if not with_held_out else held_out | (not only_held_out)
            earlier, later = earlier[wanted], (codes[wanted] >> np.uint64(32)).astype(np.int64)
            for first in range(0, len(later), _PAIRS_AT_ONCE):
                yield earlier[first : first + _PAIRS_AT_ONCE], later[first : first + _PAIRS_AT_ONCE]


def _verify(
    pool: Pool,
    earlier: I64,
    later: I64,
    min_jaccard: float,
    held_out_reason: int,
    near_reason: int,
) -> int:
    """Judge pairs in order, loading the shingles of a bounded number of documents at a time."""
    a, b = pool.num_shingles[earlier], pool.num_shingles[later]
    possible = np.minimum(a, b) >= min_jaccard * np.maximum(a, b) - 1e-6
    earlier, later = earlier[possible], later[possible]
    compared = 0
    while len(later):
        alive = (pool.reason[earlier] == STAYS) & (pool.reason[later] == STAYS)
        earlier, later = earlier[alive], later[alive]
        size = pool.num_shingles[earlier].astype(np.int64) + pool.num_shingles[later]
        count = max(1, int(np.searchsorted(np.cumsum(size), _SHINGLES_AT_ONCE, side="right")))
        some = np.stack([earlier[:count], later[:count]], axis=1)
        if not len(some):
            break
        ranks, places = np.unique(some, return_inverse=True)
        sets, bounds = pool.shingles(ranks)
        compared += verify_pairs(
            some[:, 0], some[:, 1], sets, bounds, places.reshape(-1, 2), min_jaccard,
            pool.reason, pool.twin, pool.jaccard,
            pool.num_held_out, held_out_reason, near_reason,
        )  # fmt: skip
        earlier, later = earlier[count:], later[count:]
    return compared


def _close(pool: Pool, parents: np.ndarray, near_reason: int) -> None:
    """Of each group that bands united, only the most preferred that still stays does so."""
    roots = find_roots(parents)
    alive = np.flatnonzero(pool.reason == STAYS)
    alive = alive[alive >= pool.num_held_out]
    keeper = np.full(len(pool), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(keeper, roots[alive], alive.astype(np.int32))
    twins = keeper[roots[alive]]
    leaves = (twins != alive) & (alive >= pool.num_fixed)
    ranks, twins = alive[leaves], twins[leaves].astype(np.int64)
    pool.remove(ranks, near_reason, twins, np.nan)
    size = pool.num_shingles[ranks].astype(np.int64) + pool.num_shingles[twins]
    group = np.cumsum(size) // _SHINGLES_AT_ONCE
    for some in np.split(np.arange(len(ranks)), np.flatnonzero(np.diff(group)) + 1):
        pairs = np.stack([twins[some], ranks[some]], axis=1)
        known, places = np.unique(pairs, return_inverse=True)
        sets, bounds = pool.shingles(known)
        for rank, (a, b) in zip(ranks[some], places.reshape(-1, 2), strict=True):
            left, right = sets[bounds[a] : bounds[a + 1]], sets[bounds[b] : bounds[b + 1]]
            both = shared(left, right, 0)
            pool.jaccard[rank] = both / max(len(left) + len(right) - both, 1)
