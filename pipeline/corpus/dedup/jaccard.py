"""True Jaccard similarities of candidate pairs, from their shingle sets, many pairs at a time."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.minhash import U32
from pipeline.corpus.words import I64

_BATCH_SHINGLES = 4_000_000  # bounds the scratch memory to about 100 MB
ShinglesOf = Callable[[int], U32]


def estimated(signatures: U32, pairs: I64) -> npt.NDArray[np.float64]:
    """(P,) share of equal signature entries; its standard deviation is at most 0.05 at 112."""
    shares = np.zeros(len(pairs))
    for start in range(0, len(pairs), 1 << 14):
        some = pairs[start : start + (1 << 14)]
        equal = signatures[some[:, 0]] == signatures[some[:, 1]]
        shares[start : start + len(some)] = equal.mean(axis=1)
    return shares


def exact(pairs: I64, counts: I64, shingles: ShinglesOf) -> npt.NDArray[np.float64]:
    """(P,) |A and B| / |A or B|; `counts` (N,) are set sizes, `shingles(row)` the distinct ones."""
    result = np.zeros(len(pairs))
    sizes = counts[pairs].sum(axis=1)
    batch = np.cumsum(sizes) // _BATCH_SHINGLES
    for group in np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(batch)) + 1):
        if len(group):
            shared = _shared(pairs[group], sizes[group], shingles)
            result[group] = shared / np.maximum(sizes[group] - shared, 1)
    return result


def _shared(pairs: I64, sizes: I64, shingles: ShinglesOf) -> I64:
    """(P,) elements in both sets: within a pair a value met twice is in both."""
    values = np.concatenate([shingles(int(row)) for pair in pairs for row in pair])
    key = np.repeat(np.arange(len(pairs), dtype=np.uint64), sizes) << np.uint64(32)
    key |= values
    key.sort()
    twice = key[1:][key[1:] == key[:-1]]
    return np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(pairs))
