"""Repeated word n-grams inside documents, for all documents of a batch at once.

Every order is counted with one hash table over the whole batch. A repeated n-gram begins with a
repeated (n-1)-gram, so each order looks only at positions the order before found repeated.

Legend: N documents, W words, K positions still in play.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.words import I64, U64, WordTable, mix

Shares = npt.NDArray[np.float64]
_STEP = np.uint64(0xD6E8FEB86659FD93)  # odd


@dataclass(frozen=True)
class GramMeasures:
    """Shares in 0 to 1 of each document's word characters, (N,) per order."""

    top: dict[int, Shares]
    """In the most frequent n-gram (occurring twice at least; ties: the longest)."""
    duplicate: dict[int, Shares]
    """In n-grams seen before; a character in several of them counts once."""


def gram_measures(
    words: WordTable, *, top: Sequence[int], duplicate: Sequence[int]
) -> GramMeasures:
    """Both kinds of shares for the orders asked for."""
    char_ends = np.concatenate([[0], np.cumsum(words.chars, dtype=np.int64)])  # (W + 1,)
    totals = np.maximum(np.diff(char_ends[words.bounds]), 1)  # (N,)
    found = GramMeasures({}, {})
    for n, repeats in _repeated_grams(words, sorted({*top, *duplicate})):
        if n in top:
            found.top[n] = _top_share(repeats, n, char_ends, totals)
        if n in duplicate:
            found.duplicate[n] = _duplicate_share(repeats, n, words, totals)
    return found


def first_occurrences(ids: npt.NDArray[Any]) -> tuple[I64, npt.NDArray[np.bool_]]:
    """((K,) ids renumbered by first appearance, (K,) whether this is the first appearance)."""
    encoded = pa.array(ids).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    numbers = encoded.astype(np.int64)
    first = np.ones(len(numbers), np.bool_)
    # A value never met before raises the running maximum of such numbers.
    highest = np.maximum.accumulate(numbers) if len(numbers) else numbers
    first[1:] = highest[1:] > highest[:-1]
    return numbers, first


@dataclass(frozen=True)
class _Repeats:
    """Positions whose n-gram occurs more than once in its document."""

    positions: I64
    """(K,) ascending index of the n-gram's first word."""
    documents: I64
    """(K,)"""
    numbers: I64
    """(K,) which n-gram: 0, 1, ... by first appearance."""
    first: npt.NDArray[np.bool_]
    """(K,) whether the n-gram appears here for the first time."""


def _repeated_grams(words: WordTable, orders: Sequence[int]) -> Iterator[tuple[int, _Repeats]]:
    documents = words.documents()  # (W,)
    positions = np.arange(len(documents))
    # The document is hashed in: equal n-grams of two documents are not repetition.
    hashes: U64 = mix(documents.astype(np.uint64) + np.uint64(1))
    length = 0
    for n in orders:
        fits = words.bounds[documents + 1] - positions >= n
        positions, documents, hashes = positions[fits], documents[fits], hashes[fits]
        for k in range(length, n):
            hashes = (hashes + words.hashes[positions + k]) * _STEP
        length = n
        numbers, first = first_occurrences(hashes)
        repeated = np.bincount(numbers)[numbers] > 1 if len(numbers) else first
        positions, documents, hashes = positions[repeated], documents[repeated], hashes[repeated]
        first = first[repeated]
        numbers = _renumbered(numbers[repeated], first)
        yield n, _Repeats(positions, documents, numbers, first)


def _renumbered(numbers: I64, first: npt.NDArray[np.bool_]) -> I64:
    """Close the gaps that dropped n-grams left in the numbering."""
    if not len(numbers):
        return numbers
    table = np.zeros(int(numbers.max()) + 1, np.int64)
    table[numbers[first]] = np.arange(int(first.sum()))
    return table[numbers]


def _top_share(repeats: _Repeats, n: int, char_ends: I64, totals: I64) -> Shares:
    share = np.zeros(len(totals))
    if not len(repeats.numbers):
        return share
    starts = repeats.positions[repeats.first]  # one per n-gram, ascending, so by document
    documents = repeats.documents[repeats.first]
    chars = char_ends[starts + n] - char_ends[starts]
    counts = np.bincount(repeats.numbers)
    rank = (counts << 32) + np.minimum(chars, (1 << 32) - 1)
    heads = np.flatnonzero(np.diff(documents, prepend=-1))
    best = np.maximum.reduceat(rank, heads)
    covered = (best >> 32) * (best & ((1 << 32) - 1))
    owners = documents[heads]
    share[owners] = np.minimum(covered / totals[owners], 1.0)  # overlapping ones could exceed 1
    return share


def _duplicate_share(repeats: _Repeats, n: int, words: WordTable, totals: I64) -> Shares:
    again = repeats.positions[~repeats.first]
    if not len(again):
        return np.zeros(len(totals))
    # `again` ascends: a word is covered when the last start at or before it is less than n away.
    fresh = np.minimum(n, np.diff(again, append=again[-1] + n))  # words not covered by the next
    covered = (
        np.repeat(again, fresh)
        + np.arange(fresh.sum())
        - np.repeat(np.cumsum(fresh) - fresh, fresh)
    )
    owners = np.searchsorted(words.bounds, covered, side="right") - 1
    return np.bincount(owners, words.chars[covered], minlength=len(totals)) / totals
