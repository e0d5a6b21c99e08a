"""UTF-8 bytes into tokens: one pass over the batch, chunk by chunk between white space.

    "(don't, e.g. foo.bar/baz)" -> ( do n't , e.g. foo.bar/baz )

The rules are those of spaCy 3.8's English tokenizer, whose words the published thresholds were
tuned on: exceptions first, then affixes peeled off from both ends, then URLs whole, then infixes.
Characters of scripts without spaces are tokens of their own (there spaCy would keep whole
sentences as one word). A chunk of more than CHUNK_BYTES is cut.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.affixes import (
    class_of,
    find_infix,
    find_prefix,
    find_suffix,
    is_url,
)
from pipeline.corpus.kernels.classes import (
    DIGIT,
    INFIX,
    MARK,
    PREFIX,
    QUOTE,
    SPACE,
    SPACELESS,
    SUFFIX,
    TABLE_SIZE,
    char_classes,
)
from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.english import MAX_CHARS, SLOTS, exceptions
from pipeline.corpus.kernels.utf8 import decode, readonly

CHUNK_BYTES = 1 << 16
_DOT, _ELLIPSIS = map(ord, ".…")
_RARE_PREFIXES = tuple(map(ord, ".+ACU"))  # of .. + A$ C$ US$
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SCRATCH = (  # code points, their bytes, tokens' first and last code points, marks
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    4 * CHUNK_BYTES + 16,
    4 * CHUNK_BYTES + 16,
    CHUNK_BYTES,
)
_MAX_WINDOW = 7  # tokens of the longest emoticon, ><(((*>

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def split_tokens(data: npt.NDArray[np.uint8], begins: I64, ends: I64) -> tuple[I64, I64, I64]:
    """((W,) first bytes, (W,) ends, (N + 1,) bounds) of the tokens of N documents.

    Document i is `data[begins[i]:ends[i]]`, which is valid UTF-8.
    """
    total = int((ends - begins).sum())
    bounds = np.zeros(len(begins) + 1, np.int64)
    scratch = [np.empty(size, np.int32) for size in _SCRATCH]
    table = exceptions()
    # Prose has a token per 5 bytes, Chinese one per 3, nothing more than one per byte.
    for capacity in (total // 3 + 1024, total + 1024):
        firsts, lasts = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        count = _split_batch(
            readonly(data),
            readonly(begins),
            readonly(ends),
            char_classes(),
            table.lengths,
            table.keys,
            table.cuts,
            table.joins,
            table.reach,
            *scratch,
            firsts,
            lasts,
            bounds,
        )
        if count >= 0:
            break
    if 2 * count < len(firsts):  # give back what is not used
        return firsts[:count].copy(), lasts[:count].copy(), bounds
    return firsts[:count], lasts[:count], bounds


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
def _split_chunk(
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
    lo, hi = 0, count
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
            if find_entry(codes, firsts[k], lasts[window], lengths, keys) >= 0:
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
            slot = find_entry(codes, firsts[k], lasts[k + window - 1], lengths, keys)
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
        lo, slot = firsts[k], marks[k] - 2
        k += 1
        while k < found and marks[k] == 1:
            k += 1
        out = _emit_entry(lo, lasts[k - 1], cuts[slot], firsts, lasts, out)
    count = out - spare
    for k in range(count):
        firsts[k], lasts[k] = firsts[spare + k], lasts[spare + k]
    return count


@inner
def _plain_word(data: Array, at: int, end: int, classes: Array, lengths: Array) -> int:
    """Bytes of the word of a chunk that is ASCII letters, with a mark after them, or digits.

    0 for any other chunk, and for those that may be exceptions.
    """
    stop = at
    while stop < end and 97 <= (data[stop] | 32) <= 122:
        stop += 1
    size = stop - at
    if size == 0:
        while stop < end and 48 <= data[stop] <= 57:
            stop += 1
        return stop - at if stop == end or data[stop] == 32 or data[stop] == 10 else 0
    if size >= CHUNK_BYTES - 4:
        return 0
    row = (data[at] & 127) * 128
    if size <= MAX_CHARS and (lengths[row + data[stop - 1]] >> size) & 1:
        return 0
    if stop == end or data[stop] == 32 or data[stop] == 10:
        return size
    mark = data[stop]
    if stop + 1 < end and data[stop + 1] != 32 and data[stop + 1] != 10:
        return 0
    if mark != _DOT and (mark >= 128 or not classes[mark] & SUFFIX):
        return 0
    if mark == _DOT and data[stop - 1] < 97:
        return 0
    may_be_entry = size < MAX_CHARS and (lengths[row + mark] >> (size + 1)) & 1
    return 0 if may_be_entry else size


@inner
def _read_chunk(
    data: Array, at: int, end: int, classes: Array, codes: Array, places: Array
) -> tuple[int, int, np.uint32]:
    """(characters, where the chunk ends, classes in it); no characters at a space or the like."""
    begin, kinds, size = at, np.uint32(0), 0
    limit = min(end, at + CHUNK_BYTES - 4)
    while at < limit:
        code, width = decode(data, at)
        kind = classes[code] if code < TABLE_SIZE else np.uint32(0)
        if kind & (SPACE | SPACELESS):
            break
        kinds |= kind
        codes[size], places[size] = code, at - begin
        size += 1
        at += width
    places[size] = at - begin
    return size, at, kinds


@inner
def _after_char(data: Array, at: int, end: int, classes: Array) -> int:
    """Where the character at `at` ends with the marks that belong to it."""
    _, width = decode(data, at)
    at += width
    while at < end:
        code, width = decode(data, at)
        if code >= TABLE_SIZE or not classes[code] & MARK:
            break
        at += width
    return at


@leaf
def _split_batch(
    data: Array,
    document_begins: Array,
    document_ends: Array,
    classes: Array,
    lengths: Array,
    keys: Array,
    cuts: Array,
    joins: Array,
    reach: Array,
    codes: Array,
    places: Array,
    firsts: Array,
    lasts: Array,
    marks: Array,
    starts: Array,
    ends: Array,
    bounds: Array,
) -> int:
    """How many tokens were written; -1 when there was no room for all."""
    count = 0
    for row in range(len(document_begins)):
        at, end = document_begins[row], document_ends[row]
        while at < end:
            if data[at] == 32 or data[at] == 10:
                at += 1
                continue
            if count + 8 > len(starts):
                return -1
            size = _plain_word(data, at, end, classes, lengths)
            if size:  # two thirds of all chunks
                starts[count], ends[count] = at, at + size
                count += 1
                at += size
                if at < end and data[at] > 32:  # a mark after the word
                    starts[count], ends[count] = at, at + 1
                    count += 1
                    at += 1
                continue
            size, stop, kinds = _read_chunk(data, at, end, classes, codes, places)
            if count + size + 8 > len(starts):
                return -1
            if size:
                found = _split_chunk(
                    codes,
                    size,
                    kinds,
                    classes,
                    lengths,
                    keys,
                    cuts,
                    joins,
                    reach,
                    firsts,
                    lasts,
                    marks,
                )
                for k in range(found):
                    starts[count] = at + places[firsts[k]]
                    ends[count] = at + places[lasts[k]]
                    count += 1
                at = stop
                continue
            stop = _after_char(data, at, end, classes)
            code, _ = decode(data, at)
            if code < TABLE_SIZE and classes[code] & SPACELESS:
                starts[count], ends[count] = at, stop
                count += 1
            at = stop
        bounds[row + 1] = count
    return count
