"""MinHash signatures of a batch: how alike two documents are, read off 112 numbers each.

    WordTable -> shingles (distinct word 5-grams) -> (N, 112) signatures

The share of equal entries in two signatures estimates the Jaccard similarity of their shingle sets
(Broder 1997). In scripts without spaces a word is a character, so the shingles are characters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.kernels import MERSENNE_61, drop_repeats, sign_32, sign_64
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.ngrams import roll_grams
from pipeline.corpus.words import I64, U64, WordTable, mix

U32 = npt.NDArray[np.uint32]
Hashes = U32 | U64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's step


@dataclass(frozen=True)
class Shingles:
    """Distinct shingles of N documents, back to back, ascending within each document."""

    hashes: Hashes
    """(S,) 64 bits, or the upper 32 of them."""
    bounds: I64
    """(N + 1,)"""

    @property
    def counts(self) -> I64:
        """(N,) distinct shingles per document; 0 for a document without words."""
        return np.diff(self.bounds)


def shingles_of(words: WordTable, config: SignatureConfig) -> Shingles:
    """Distinct n-grams; a document with fewer than n words has one shingle, of all its words."""
    counts = words.counts
    sizes = np.where(words.is_spaceless, config.shingle_chars, config.shingle_words)
    is_short = (counts > 0) & (counts < sizes)
    per_document = np.where(is_short, 1, np.maximum(counts - (sizes - 1), 0))
    bounds = np.concatenate([[0], np.cumsum(per_document)]).astype(np.int64)
    hashes = np.empty(bounds[-1], np.uint64)
    # Written as one n-gram of what there is, then overwritten by the hash of a short document.
    roll_grams(words.hashes, words.bounds, np.minimum(sizes, np.maximum(counts, 1)), bounds, hashes)
    for row in np.flatnonzero(is_short):
        hashes[bounds[row]] = _whole(words.hashes[words.bounds[row] : words.bounds[row + 1]])
    if config.bits == 32:
        return distinct((hashes >> np.uint64(32)).astype(np.uint32), bounds)
    return distinct(hashes, bounds)


def distinct(hashes: Hashes, bounds: I64) -> Shingles:
    """Sort each document's hashes and drop repeats; `hashes` is used up."""
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if last - first > 1:
            hashes[first:last].sort()
    kept = np.empty_like(bounds)
    drop_repeats(hashes, bounds, kept)
    return Shingles(hashes[: kept[-1]].copy(), kept)


def permutations(count: int, *, seed: int) -> tuple[U32, U32]:
    """`count` random bijections x -> a * x + b of the 32-bit integers: ((count,) odd a, b)."""
    values = (_random(2 * count, seed) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


def permutations_64(count: int, *, seed: int) -> tuple[U64, U64]:
    """`count` random maps x -> (a * x + b) modulo 2^61 - 1: ((count,) a > 0, b)."""
    values = _random(2 * count, seed) % np.uint64(MERSENNE_61)
    return np.maximum(values[:count], np.uint64(1)), values[count:]


def signatures_of(shingles: Shingles, config: SignatureConfig) -> Hashes:
    """(N, size) smallest permuted shingle hash; all ones for a document without shingles."""
    rows = len(shingles.counts)
    hashes: Any = shingles.hashes
    if config.bits == 64:
        factors, offsets = permutations_64(config.size, seed=config.seed)
        signatures = np.full((rows, config.size), np.iinfo(np.uint64).max, np.uint64)
        sign_64(hashes, shingles.bounds, factors, offsets, signatures)
        return signatures
    small_factors, small_offsets = permutations(config.size, seed=config.seed)
    small = np.full((rows, config.size), np.iinfo(np.uint32).max, np.uint32)
    sign_32(hashes, shingles.bounds, small_factors, small_offsets, small)
    return small


def _whole(words: U64) -> np.uint64:
    """The shingle of a document too short for one: a hash of all its words."""
    value = np.zeros(1, np.uint64)
    for word in words:
        value = mix(value + word)
    return np.uint64(value[0])


def _random(count: int, seed: int) -> U64:
    # splitmix64 rather than numpy's generator, whose stream may change between versions.
    return mix(np.uint64(seed) + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64))
