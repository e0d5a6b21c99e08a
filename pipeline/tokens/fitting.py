"""Documents into rows of equal length without losing a token: pieces, and best fit decreasing.

document of 11 tokens, T = 4: pieces of T + 1 tokens, T apart, so each token but the first is the
target of one piece:  0..4 | 4..8 | 8..10          (the same arithmetic as pipeline/tokens/windows)
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Pieces(NamedTuple):
    """Stretches of a token stream, none longer than a row."""

    starts: Ints
    """(P,) first token in the stream."""
    lengths: Ints
    """(P,) 2 to T + 1 tokens."""


def cut_documents(lengths: Ints, context_length: int) -> Pieces:
    """The pieces of documents of `lengths` tokens (2 or more each) that lie end to end."""
    counts = -(-(lengths - 1) // context_length)
    starts = np.cumsum(lengths) - lengths
    last = np.cumsum(counts)
    number = np.arange(int(last[-1]) if len(last) else 0) - np.repeat(last - counts, counts)
    begin = number * context_length
    sizes = np.minimum(context_length + 1, np.repeat(lengths, counts) - begin)
    return Pieces(np.repeat(starts, counts) + begin, sizes)


def best_fit(lengths: Ints, capacity: int) -> Ints:
    """The row of each item: longest first, into the fullest row that still holds it.

    O(n log n + n * capacity / 64): the free spaces that occur are the bits of one integer. Every
    length must be in 1..capacity; rows are numbered in the order in which they are opened.
    """
    row_of = np.empty(len(lengths), np.int64)
    if not len(lengths):
        return row_of
    assert 0 < int(lengths.min())
    assert int(lengths.max()) <= capacity
    order = np.argsort(-lengths, kind="stable")
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # rows by free space
    occurring = rows = 0
    for i, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = occurring >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                occurring &= ~(1 << room)
        else:
            room, row = capacity, rows
            rows += 1
        row_of[i] = row
        left = room - length
        if left:
            with_room[left].append(row)
            occurring |= 1 << left
    return row_of


class Layout(NamedTuple):
    """Which pieces lie in which row, in order."""

    pieces: Ints
    """(P,) piece numbers, row by row."""
    offsets: Ints
    """(R + 1,) row r holds pieces[offsets[r]:offsets[r + 1]]."""


def lay_out(lengths: Ints, capacity: int, *, pack: bool) -> Layout:
    """Rows of pieces of `lengths`: packed by best fit, or each piece in a row of its own."""
    count = len(lengths)
    if not pack:
        return Layout(np.arange(count), np.arange(count + 1))
    row_of = best_fit(lengths, capacity)
    # Within a row the longest first, as they were put in; equal ones in the order of the corpus.
    order = np.lexsort((np.arange(count), -lengths, row_of))
    rows = int(row_of.max()) + 1 if count else 0
    return Layout(order, np.searchsorted(row_of[order], np.arange(rows + 1)))
