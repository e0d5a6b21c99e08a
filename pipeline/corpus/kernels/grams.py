"""How much of a document its repeated n-grams cover: orders 2 to 10 in one kernel, exactly counted.

    top_chars(n)    count x length of the most frequent n-gram; of several the first met
    again_chars(n)  characters of n-grams met before, reading on after each one

A repeated n-gram holds two repeated (n-1)-grams, so each order looks only at positions whose
shorter n-grams, there and one further, occur more than once. In prose few are left after order 4.

Legend: N documents, W tokens, M tokens of the longest document, C candidate positions.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, leaf

TOP_ORDERS = (2, 3, 4)
AGAIN_ORDERS = (5, 6, 7, 8, 9, 10)
_ORDERS = len(TOP_ORDERS) + len(AGAIN_ORDERS)
_STEP = np.uint64(0xD6E8FEB86659FD93)

I64 = npt.NDArray[np.int64]


def gram_chars(
    hashes: npt.NDArray[np.uint64], chars: npt.NDArray[np.int32], bounds: I64
) -> tuple[I64, I64]:
    """((3, N) characters of the top 2- to 4-gram, (6, N) characters in repeated 5- to 10-grams).

    A top n-gram is counted with the n - 1 spaces between its tokens, a repeated one without.
    About 40 bytes of memory per token of the longest document while it runs.
    """
    longest = int(np.diff(bounds).max(initial=0))
    slots = table_slots(longest)
    found = np.zeros((_ORDERS, len(bounds) - 1), np.int64)
    _all_orders(
        hashes,
        chars,
        bounds,
        np.empty(longest + 1, np.int64),
        np.empty(longest, np.uint64),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
        found,
    )
    return found[: len(TOP_ORDERS)], found[len(TOP_ORDERS) :]


def table_slots(entries: int) -> int:
    """A power of two that `entries` fill to three quarters at most."""
    return 1 << max(4, int(entries * 4 // 3).bit_length())


@leaf
def _all_orders(
    hashes: Array,
    chars: Array,
    bounds: Array,
    ends: Array,
    grams: Array,
    places: Array,
    slots: Array,
    keys: Array,
    counts: Array,
    found: Array,
) -> None:
    """found (9, N). ends (M + 1,), grams, places, slots (M,), keys, counts: scratch."""
    for row in range(len(bounds) - 1):
        first, count = bounds[row], bounds[row + 1] - bounds[row]
        ends[0] = 0
        for k in range(count):
            ends[k + 1] = ends[k] + chars[first + k]
            places[k] = k
            grams[k] = hashes[first + k]
        left = count
        for order in range(2, 11):
            if count < order:
                break
            left = _extend(hashes, first, count, order, grams, places, left)
            left = _count(grams, places, left, slots, keys, counts)
            if order <= 4:
                found[order - 2, row] = _top(ends, order, places, slots, counts, left)
            else:
                found[order - 2, row] = _again(ends, order, places, slots, counts, left)
            left = _keep_repeated(places, slots, counts, left)


@leaf
def _extend(
    hashes: Array, first: int, count: int, order: int, grams: Array, places: Array, left: int
) -> int:
    """Candidates of this order: both (n-1)-grams in them are candidates still."""
    kept = 0
    for k in range(left):
        at = places[k]
        if at + order > count or (order > 2 and (k + 1 >= left or places[k + 1] != at + 1)):
            continue
        value = (grams[at] * _STEP) ^ hashes[first + at + order - 1]  # order matters: ab is not ba
        grams[at] = value ^ (value >> np.uint64(32))
        places[kept] = at
        kept += 1
    return kept


@leaf
def _count(grams: Array, places: Array, left: int, slots: Array, keys: Array, counts: Array) -> int:
    """Count equal n-grams: counts[slots[k]] is how often that of places[k] occurs."""
    size = 16
    while size * 3 < left * 4:
        size *= 2
    mask = np.uint64(size - 1)
    for empty in range(size):
        counts[empty] = 0
    for k in range(left):
        key = grams[places[k]]
        slot: Any = np.int64((key >> np.uint64(7)) & mask)
        while counts[slot] and keys[slot] != key:
            slot = (slot + 1) & (size - 1)
        keys[slot] = key
        counts[slot] += 1
        slots[k] = slot
    return left


@leaf
def _top(ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int) -> int:
    best, covered = 1, ends[order] + order - 1  # without repetition the first n-gram counts once
    for k in range(left):
        times = counts[slots[k]]
        if times > best:
            best = times
            covered = times * (ends[places[k] + order] - ends[places[k]] + order - 1)
    return covered


@leaf
def _again(ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int) -> int:
    covered, following = 0, 0
    for k in range(left):
        at, slot = places[k], slots[k]
        times = counts[slot]
        if times == 1 or at < following:
            continue
        if times < 0:  # met before
            covered += ends[at + order] - ends[at]
            following = at + order
        else:
            counts[slot] = -times
    return covered


@leaf
def _keep_repeated(places: Array, slots: Array, counts: Array, left: int) -> int:
    kept = 0
    for k in range(left):
        times = counts[slots[k]]
        if times > 1 or times < -1:
            places[kept] = places[k]
            kept += 1
    return kept
