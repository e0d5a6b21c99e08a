"""One chunk between white space into tokens: exceptions, affixes, URLs, infixes.

    it's/isn't,  ->  it's / isn't ,  by the rules;  what they have split can join again: x:) -> x :)

All functions look at codes[lo:hi], code points of one chunk. `lengths`, `keys`, `cuts`, `joins` and
`reach` are the columns of an ExceptionTable; tokens are written to `firsts` and `lasts`.
"""

from typing import Any

import numpy as np

from pipeline.corpus.kernels.affixes import (
    class_of,
    find_infix,
    find_prefix,
    find_suffix,
    is_url,
)
from pipeline.corpus.kernels.classes import DIGIT, INFIX, PREFIX, QUOTE, SUFFIX
from pipeline.corpus.kernels.compiled import Array, inner
from pipeline.corpus.kernels.english import MAX_CHARS, SLOTS

_DOT, _ELLIPSIS = map(ord, ".…")
_RARE_PREFIXES = tuple(map(ord, ".+ACU"))  # of .. + A$ C$ US$
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MAX_WINDOW = 7  # tokens of the longest emoticon, ><(((*>


@inner
def find_entry(codes: Array, first: int, last: int, lengths: Array, keys: Array) -> int:
    """Slot of the exception that codes[first:last] is, or -1."""
    slot: Any = -1
    if 0 < last - first <= MAX_CHARS:
        mask = lengths[(codes[first] & 127) * 128 + (codes[last - 1] & 127)]
        if (mask >> (last - first)) & 1:
            slot = _look_up(codes, first, last, keys)
    return slot


@inner
def _look_up(codes: Array, first: int, last: int, keys: Array) -> int:
    key = np.uint64(last - first)
    for k in range(first, last):
        key = (key ^ np.uint64(codes[k])) * _MIX
        key ^= key >> np.uint64(29)
    slot: Any = np.int64(key & np.uint64(SLOTS - 1))
    while keys[slot] != 0:
        if keys[slot] == key:
            return slot
        slot = (slot + 1) & (SLOTS - 1)
    return -1


@inner
def split_chunk(
    codes: Array,
    count: int,
    kinds: int,
    classes: Array,
    lengths: Array,
    keys: Array,
    cuts: Array,
    joins: Array,
    reach: Array,
    firsts: Array,
    lasts: Array,
    stack: Array,
) -> int:
    """Write the tokens of codes[:count] to firsts, lasts; returns how many there are."""
    found = 0
    suffixes = 0
    lo: Any = np.int64(0)
    hi: Any = count
    while lo < hi:
        if find_entry(codes, lo, hi, lengths, keys) >= 0:
            break
        # Calls cost more than the rules: what most characters do is decided here.
        prefix = 1
        if not class_of(codes[lo], classes) & PREFIX:
            is_rare = codes[lo] in _RARE_PREFIXES
            prefix = find_prefix(codes, lo, hi, classes) if is_rare else 0
        if prefix and find_entry(codes, lo + prefix, hi, lengths, keys) >= 0:
            firsts[found], lasts[found] = lo, lo + prefix
            found += 1
            lo += prefix
            break
        suffix, last = 0, codes[hi - 1]
        if lo + prefix < hi:
            if class_of(last, classes) & SUFFIX and last != _ELLIPSIS:
                suffix = 1
            elif kinds & (DIGIT | QUOTE) or last == _DOT or last == _ELLIPSIS:
                suffix = find_suffix(codes, lo + prefix, hi, classes)
        if suffix and find_entry(codes, lo, hi - suffix, lengths, keys) >= 0:
            stack[suffixes] = hi
            suffixes += 1
            hi -= suffix
            break
        if prefix == 0 and suffix == 0:
            break
        if prefix:
            firsts[found], lasts[found] = lo, lo + prefix
            found += 1
            lo += prefix
        if suffix:
            stack[suffixes] = hi
            suffixes += 1
            hi -= suffix
    found = _split_core(codes, lo, hi, kinds, classes, lengths, keys, cuts, firsts, lasts, found)
    last = hi
    for k in range(suffixes - 1, -1, -1):
        firsts[found], lasts[found] = last, stack[k]
        found += 1
        last = stack[k]
    if found > 1:
        found = _join(codes, lengths, keys, cuts, joins, reach, firsts, lasts, found, stack)
    return found


@inner
def _split_core(
    codes: Array,
    lo: int,
    hi: int,
    kinds: int,
    classes: Array,
    lengths: Array,
    keys: Array,
    cuts: Array,
    firsts: Array,
    lasts: Array,
    found: int,
) -> int:
    """What is left between the affixes: an exception, a URL, or parts between infixes."""
    if lo >= hi:
        return found
    slot = find_entry(codes, lo, hi, lengths, keys)
    if slot >= 0:
        return _emit_entry(lo, hi, cuts[slot], firsts, lasts, found)
    if not kinds & INFIX:
        firsts[found], lasts[found] = lo, hi
        return found + 1
    if is_url(codes, lo, hi, classes):
        firsts[found], lasts[found] = lo, hi
        return found + 1
    start = position = lo
    while position < hi:
        kind = class_of(codes[position], classes)
        size = find_infix(codes, lo, position, hi, classes) if kind & INFIX else 0
        if size == 0:
            position += 1
            continue
        if position != lo:  # an infix never splits at the very start
            if position != start:
                firsts[found], lasts[found] = start, position
                found += 1
            firsts[found], lasts[found] = position, position + size
            found += 1
            start = position + size
        position += size
    if start < hi:
        firsts[found], lasts[found] = start, hi
        found += 1
    return found


@inner
def _emit_entry(lo: int, hi: int, cut: int, firsts: Array, lasts: Array, found: int) -> int:
    start: Any = lo
    for place in (np.int64(cut) & 15, np.int64(cut) >> 4):
        if place:
            firsts[found], lasts[found] = start, lo + place
            found += 1
            start = lo + place
    firsts[found], lasts[found] = start, hi
    return found + 1


@inner
def _may_join(
    codes: Array,
    lengths: Array,
    keys: Array,
    reach: Array,
    firsts: Array,
    lasts: Array,
    found: int,
) -> bool:
    for k in range(found - 1):
        longest = firsts[k] + reach[codes[firsts[k]] & 127]
        window = k + 1
        while window < found and lasts[window] <= longest:
            if find_entry(codes, np.int64(firsts[k]), np.int64(lasts[window]), lengths, keys) >= 0:
                return True
            window += 1
    return False


@inner
def _join(
    codes: Array,
    lengths: Array,
    keys: Array,
    cuts: Array,
    joins: Array,
    reach: Array,
    firsts: Array,
    lasts: Array,
    found: int,
    marks: Array,
) -> int:
    """Neighbouring tokens that together are an exception become it, the longest first."""
    if not _may_join(codes, lengths, keys, reach, firsts, lasts, found):
        return found
    hit = False
    for k in range(found):
        marks[k] = 0
    for window in range(min(_MAX_WINDOW, found), 1, -1):
        for k in range(found - window + 1):
            if marks[k] or marks[k + window - 1]:
                continue
            first, last = np.int64(firsts[k]), np.int64(lasts[k + window - 1])
            slot = find_entry(codes, first, last, lengths, keys)
            if slot >= 0 and joins[slot]:
                for within in range(k, k + window):
                    marks[within] = 1
                marks[k] = slot + 2
                hit = True
    if not hit:
        return found
    out = spare = len(firsts) - 3 * found  # the arrays are long enough for both
    k = 0
    while k < found:
        if marks[k] < 2:
            firsts[out], lasts[out] = firsts[k], lasts[k]
            out += 1
            k += 1
            continue
        lo, slot = np.int64(firsts[k]), marks[k] - 2
        k += 1
        while k < found and marks[k] == 1:
            k += 1
        out = _emit_entry(lo, np.int64(lasts[k - 1]), cuts[slot], firsts, lasts, out)
    count = out - spare
    for k in range(count):
        firsts[k], lasts[k] = firsts[spare + k], lasts[spare + k]
    return count
