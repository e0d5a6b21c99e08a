"""Which pairs of documents are worth comparing: equal in at least one band of their signatures.

With 14 bands of 8 rows a pair of Jaccard similarity s meets with probability 1 - (1 - s^8)^14:
0.92 at 0.8, 0.56 at 0.7, 0.05 at 0.5 (FineWeb's setting, Penedo et al. 2024).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.minhash import U32
from pipeline.corpus.words import I64, mix

ALL_PAIRS_UP_TO = 64
"""A larger bucket compares each member with its first ALL_PAIRS_UP_TO only: cost stays linear."""
_STEP = np.uint64(0xD6E8FEB86659FD93)  # odd


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows (earlier, later), each once, ascending."""

    pairs: I64
    """(P, 2)"""
    crowded_buckets: int
    """Buckets so large that not every pair in them was taken."""


def candidate_pairs(signatures: U32, usable: npt.NDArray[np.bool_], *, bands: int) -> Candidates:
    """Pairs of usable rows that agree in a whole band; rows come in the order of preference.

    `signatures` is (N, bands * rows), `usable` (N,) leaves out documents without shingles.
    """
    count = len(signatures)
    rows = np.flatnonzero(usable)
    found: list[I64] = []
    crowded = 0
    for band in np.array_split(np.arange(signatures.shape[1]), bands):
        keys = np.zeros(len(rows), np.uint64)
        for column in band:
            keys = mix((keys + signatures[rows, column]) * _STEP)
        order = np.argsort(keys, kind="stable")  # stable: members of a bucket stay ascending
        heads = np.flatnonzero(np.diff(keys[order], prepend=~keys[order][:1]))
        sizes = np.diff(np.append(heads, len(order)))
        for head, size in zip(heads[sizes > 1], sizes[sizes > 1], strict=True):
            crowded += int(size > ALL_PAIRS_UP_TO)
            found.append(_pairs(rows[order[head : head + size]], count))
    codes = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return Candidates(np.stack([codes // count, codes % count], axis=1), crowded)


def _pairs(members: I64, count: int) -> I64:
    """Codes earlier * count + later; members ascend, so the preferred ones come first."""
    earlier, later = np.meshgrid(members[:ALL_PAIRS_UP_TO], members, indexing="ij")
    above = earlier < later
    codes: I64 = earlier[above] * count + later[above]
    return codes
