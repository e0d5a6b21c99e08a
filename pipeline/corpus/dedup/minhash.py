"""MinHash signatures of a batch: how alike two documents are, read off 112 numbers each.

    WordTable -> shingles (distinct word 5-grams) -> (N, 112) signatures

The share of equal entries in two signatures estimates the Jaccard similarity of their shingle sets
(Broder 1997). In scripts without spaces a word is a character, so the shingles are 5 characters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.ngrams import gram_hashes
from pipeline.corpus.words import I64, WordTable, mix

U32 = npt.NDArray[np.uint32]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's step
_BLOCK = 1 << 16  # shingles per pass: the scratch array stays in the processor's cache


@dataclass(frozen=True)
class Shingles:
    """Distinct shingles of N documents, back to back, ascending within each document."""

    hashes: U32
    """(S,) the upper half of the 64-bit n-gram hash."""
    bounds: I64
    """(N + 1,)"""

    @property
    def counts(self) -> I64:
        """(N,) distinct shingles per document; 0 for a document without words."""
        return np.diff(self.bounds)


def shingles_of(words: WordTable, *, shingle_words: int) -> Shingles:
    """Distinct word n-grams; a document with fewer words has one shingle, of all its words."""
    hashes, bounds = gram_hashes(words, shingle_words)
    documents = np.repeat(np.arange(len(words)), np.diff(bounds))
    short = np.flatnonzero((words.counts > 0) & (words.counts < shingle_words))
    whole = np.zeros(len(short), np.uint64)
    for k in range(shingle_words - 1):
        inside = words.counts[short] > k
        word = words.hashes[(words.bounds[short] + k)[inside]]
        whole[inside] = mix(whole[inside] + word)
    hashes, documents = np.concatenate([hashes, whole]), np.concatenate([documents, short])
    key = documents.astype(np.uint64) << np.uint64(32) | hashes >> np.uint64(32)
    key.sort()
    key = key[np.diff(key, prepend=~key[:1]) != 0]
    ends = np.searchsorted(key >> np.uint64(32), np.arange(len(words) + 1, dtype=np.uint64))
    return Shingles((key & np.uint64(0xFFFFFFFF)).astype(np.uint32), ends.astype(np.int64))


def permutations(count: int, *, seed: int) -> tuple[U32, U32]:
    """`count` random bijections x -> a * x + b of the 32-bit integers: ((count,) odd a, b)."""
    # splitmix64 rather than numpy's generator, whose stream may change between versions.
    state = np.uint64(seed) + _GOLDEN * np.arange(1, 2 * count + 1, dtype=np.uint64)
    values = (mix(state) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


def signatures_of(shingles: Shingles, *, size: int, seed: int) -> U32:
    """(N, size) smallest permuted shingle hash; all ones for a document without shingles."""
    factors, offsets = permutations(size, seed=seed)
    filled = np.flatnonzero(shingles.counts)
    signatures = np.full((len(shingles.counts), size), np.iinfo(np.uint32).max, np.uint32)
    for rows in _blocks(shingles, filled):
        first, last = shingles.bounds[rows[0]], shingles.bounds[rows[-1] + 1]
        hashes = shingles.hashes[first:last]
        starts = shingles.bounds[rows] - first
        scratch = np.empty_like(hashes)
        for i in range(size):
            np.multiply(hashes, factors[i], out=scratch)
            np.add(scratch, offsets[i], out=scratch)
            signatures[rows, i] = np.minimum.reduceat(scratch, starts)
    return signatures


def _blocks(shingles: Shingles, filled: I64) -> list[I64]:
    """Cut the documents that have shingles into runs of about _BLOCK shingles."""
    if not len(filled):
        return []
    block = shingles.bounds[filled] // _BLOCK
    return np.split(filled, np.flatnonzero(np.diff(block)) + 1)
