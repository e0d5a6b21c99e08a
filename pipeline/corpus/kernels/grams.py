"""How much of a document its repeated n-grams cover: orders 2 to 10 in one kernel, exactly counted.

    top_chars(n)    count x length of the most frequent n-gram; of several the first met
    again_chars(n)  characters of n-grams met before, reading on after each one

A repeated n-gram holds two repeated (n-1)-grams, so each order looks only at positions whose
shorter n-grams, there and one further, occur more than once. In prose few are left after order 4.

Legend: N documents, W tokens, M tokens of the longest document, C candidate positions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.utf8 import readonly

TOP_ORDERS = (2, 3, 4)
AGAIN_ORDERS = (5, 6, 7, 8, 9, 10)
_ORDERS = len(TOP_ORDERS) + len(AGAIN_ORDERS)
MAX_TOKENS = 1 << 22
"""Of a longer document this many are looked at: 200 MB of tables."""
_STEP = np.uint64(0xD6E8FEB86659FD93)

I64 = npt.NDArray[np.int64]


def gram_chars(
    hashes: npt.NDArray[np.uint64], chars: npt.NDArray[np.int32], bounds: I64
) -> tuple[I64, I64]:
    """((3, N) characters of the top 2- to 4-gram, (6, N) characters in repeated 5- to 10-grams).

    A top n-gram is counted with the n - 1 spaces between its tokens, a repeated one without.
    About 40 bytes of memory per token of the longest document while it runs.
    """
    longest = min(int(np.diff(bounds).max(initial=0)), MAX_TOKENS)
    slots = table_slots(longest)
    found = np.zeros((_ORDERS, len(bounds) - 1), np.int64)
    _all_orders(
        readonly(hashes),
        readonly(chars),
        readonly(bounds),
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
        first, count = bounds[row], min(bounds[row + 1] - bounds[row], MAX_TOKENS)
        left = _start(hashes, chars, first, count, ends, grams, places)
        for order in range(2, 11):
            if count < order:
                break
            left = _count(hashes, first, count, order, 1, grams, places, left, slots, keys, counts)
            if order <= TOP_ORDERS[-1]:
                found[order - 2, row], left = _top(ends, order, places, slots, counts, left)
            else:
                found[order - 2, row], left = _again(ends, order, places, slots, counts, left)


@inner
def _count(
    hashes: Array,
    first: int,
    count: int,
    order: int,
    step: int,
    grams: Array,
    places: Array,
    left: int,
    slots: Array,
    keys: Array,
    counts: Array,
) -> int:
    """Candidates of this order: counts[slots[k]] is how often the n-gram at places[k] occurs.

    `grams` holds the hashes of order - step; `left` of their positions are candidates.
    """
    size = 16
    while size * 3 < left * 4:
        size *= 2
    for empty in range(size):
        counts[empty] = 0
    kept = 0
    mask, one = np.uint64(size - 1), np.uint64(1)
    for k in range(left):
        at = places[k]
        # All shorter n-grams in it must be candidates still.
        if at + order > count or k + step >= left or places[k + step] != at + step:
            continue
        key = grams[at]
        for word in range(first + at + order - step, first + at + order):
            key = (key * _STEP) ^ hashes[word]  # order matters: ab is not ba
            key ^= key >> np.uint64(32)
        slot = (key >> np.uint64(7)) & mask
        while counts[slot] and keys[slot] != key:
            slot = (slot + one) & mask
        keys[slot] = key
        counts[slot] += 1
        grams[at] = key
        places[kept], slots[kept] = at, slot
        kept += 1
    return kept


@inner
def _top(
    ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int
) -> tuple[int, int]:
    """(characters of the most frequent n-gram, positions of repeated ones kept in places)."""
    best, covered = 1, ends[order] + order - 1  # without repetition the first n-gram counts once
    kept = 0
    for k in range(left):
        at, times = places[k], counts[slots[k]]
        if times > best:
            best = times
            covered = times * (ends[at + order] - ends[at] + order - 1)
        places[kept] = at  # written over unless repeated: a branch here is a coin toss
        kept += times != 1
    return covered, kept


@inner
def _again(
    ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int
) -> tuple[int, int]:
    """(characters of n-grams met before, positions of repeated ones kept in places)."""
    covered, following, kept = 0, 0, 0
    for k in range(left):
        at, slot = places[k], slots[k]
        times = counts[slot]
        if times == 1:
            continue
        places[kept] = at
        kept += 1
        if at < following:
            continue
        if times < 0:  # met before
            covered += ends[at + order] - ends[at]
            following = at + order
        else:
            counts[slot] = -times
    return covered, kept


def repeated_chars(
    hashes: npt.NDArray[np.uint64],
    chars: npt.NDArray[np.int32],
    bounds: I64,
    *,
    orders: Sequence[int],
    num_top: int,
) -> I64:
    """(len(orders), N) characters covered by repeated n-grams of ascending orders.

    For the first `num_top` orders: count x length of the most frequent n-gram that occurs twice at
    least, of several the longest. For the others: words in n-grams met before, each word once.
    """
    longest = min(int(np.diff(bounds).max(initial=0)), MAX_TOKENS)
    slots = table_slots(longest)
    found = np.zeros((len(orders), len(bounds) - 1), np.int64)
    _repeated_orders(
        readonly(hashes),
        readonly(chars),
        readonly(bounds),
        readonly(np.array(orders, np.int64)),
        num_top,
        np.empty(longest + 1, np.int64),
        np.empty(longest, np.uint64),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
        found,
    )
    return found


@leaf
def _repeated_orders(
    hashes: Array,
    chars: Array,
    bounds: Array,
    orders: Array,
    num_top: int,
    ends: Array,
    grams: Array,
    places: Array,
    slots: Array,
    keys: Array,
    counts: Array,
    found: Array,
) -> None:
    for row in range(len(bounds) - 1):
        first, count = bounds[row], min(bounds[row + 1] - bounds[row], MAX_TOKENS)
        left = _start(hashes, chars, first, count, ends, grams, places)
        previous = 1
        for k in range(len(orders)):
            order = orders[k]
            step = order - previous
            left = _count(
                hashes, first, count, order, step, grams, places, left, slots, keys, counts
            )
            if k < num_top:
                found[k, row], left = _longest_top(ends, order, places, slots, counts, left)
            else:
                found[k, row], left = _covered(ends, order, places, slots, counts, left)
            previous = order


@inner
def _longest_top(
    ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int
) -> tuple[int, int]:
    best, longest, kept = 1, 0, 0
    for k in range(left):
        times = counts[slots[k]]
        if times == 1:
            continue
        at = places[k]
        size = ends[at + order] - ends[at]
        if times > best or (times == best and size > longest):
            best, longest = times, size
        places[kept] = at
        kept += 1
    return best * longest, kept


@inner
def _covered(
    ends: Array, order: int, places: Array, slots: Array, counts: Array, left: int
) -> tuple[int, int]:
    covered, following, kept = 0, 0, 0
    for k in range(left):
        at, slot = places[k], slots[k]
        times = counts[slot]
        if times == 1:
            continue
        places[kept] = at
        kept += 1
        if times < 0:  # met before
            covered += ends[at + order] - ends[max(at, following)]
            following = at + order
        else:
            counts[slot] = -times
    return covered, kept


@inner
def _start(
    hashes: Array, chars: Array, first: int, count: int, ends: Array, grams: Array, places: Array
) -> int:
    """Every word of a document is a candidate; `ends` (M + 1,) are running characters."""
    ends[0] = 0
    for k in range(count):
        ends[k + 1] = ends[k] + chars[first + k]
        places[k] = k
        grams[k] = hashes[first + k]
    return count
