"""spaCy's rules for English words on ASCII text, one whitespace-separated chunk at a time.

    "(see 10km/h-ish..." -> prefixes "("  |  core "see"  ...   -> token ends, or UNDECIDED

A chunk loses prefixes and suffixes until nothing more comes off or a special case ("don't", "e.g.")
is left; what remains is split at infixes. The rules are those of spaCy 3 (`lang/punctuation.py`,
`lang/en/punctuation.py`, `tokenizer.pyx`), the special cases come from spaCy itself at run time.
UNDECIDED are the chunks that need more than this: other scripts, possible URLs, smileys inside.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

UNDECIDED = -1
EMPTY = np.uint64(0)
"""Marks a free slot of a hash table; no text is given this hash."""
_FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_FNV_PRIME = np.uint64(0x100000001B3)

LOWER, UPPER, DIGIT, QUOTE, PUNCTUATION, MARKER = (np.uint8(1 << bit) for bit in range(6))
"""Classes of an ASCII character; MARKER: % = $, a prefix but no suffix everywhere."""
_ALPHA = LOWER | UPPER
_UNITS = (
    b"km m dm cm mm ha nm yd in ft kg g mg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB "
    b"tb TB T G M K %".split()
)
"""What spaCy splits off a number as its unit, the ASCII ones."""
LONGEST_UNIT = 4
UNITS = np.array([int.from_bytes(unit, "little") for unit in _UNITS], np.uint64)


def _character_classes() -> U8:
    classes = np.zeros(256, np.uint8)
    classes[ord("a") : ord("z") + 1] = LOWER
    classes[ord("A") : ord("Z") + 1] = UPPER
    classes[ord("0") : ord("9") + 1] = DIGIT
    for characters, kind in ((b"'\"`", QUOTE), (b",:;!?()[]{}<>_#*&", PUNCTUATION), (b"%=$", MARKER)):
        classes[list(characters)] = kind
    return classes


CLASSES = _character_classes()


@numba.njit(cache=True, nogil=True, inline="always")
def hash_bytes(data: U8, start: int, end: int) -> Any:
    """64-bit FNV-1a of `data[start:end]`; never EMPTY."""
    value = _FNV_OFFSET
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * _FNV_PRIME
    return value if value != EMPTY else _FNV_OFFSET


@numba.njit(cache=True, nogil=True)
def find_slot(keys: U64, key: Any) -> int:
    """The slot of `key` in an open-addressing table, or the free slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = (key ^ (key >> np.uint64(29))) & mask
    while keys[slot] != EMPTY and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@numba.njit(cache=True, nogil=True)
def _prefix(data: U8, start: int, end: int) -> int:
    """How many bytes a prefix takes off `data[start:end]`."""
    first = data[start]
    if CLASSES[first] & (PUNCTUATION | QUOTE | MARKER):
        return 1
    if first == 43:  # "+", unless a digit follows
        return 0 if start + 1 < end and CLASSES[data[start + 1]] == DIGIT else 1
    if first == 46:  # two dots or more
        stop = start + 1
        while stop < end and data[stop] == 46:
            stop += 1
        return stop - start if stop - start > 1 else 0
    if first == 85 or first == 67 or first == 65:  # US$, C$, A$
        dollar = start + (2 if first == 85 else 1)
        if dollar < end and data[dollar] == 36 and (first != 85 or data[start + 1] == 83):
            return dollar + 1 - start
    return 0


@numba.njit(cache=True, nogil=True)
def _suffix(data: U8, start: int, end: int) -> int:
    """How many bytes a suffix takes off `data[start:end]`; it looks back no further than start."""
    if start >= end:
        return 0
    last = data[end - 1]
    before = data[end - 2] if end - start > 1 else np.uint8(0)
    if CLASSES[last] & (PUNCTUATION | QUOTE):
        return 1
    if last == 46:
        return _dots(data, start, end)
    if (last == 115 or last == 83) and before == 39:  # 's
        return 2
    if last == 43:
        return 1 if CLASSES[before] == DIGIT else 0
    if last == 36:
        return _currency(data, start, end)
    if CLASSES[last] & _ALPHA or last == 37:
        for size in range(min(LONGEST_UNIT, end - start - 1), 0, -1):
            if CLASSES[data[end - size - 1]] == DIGIT:
                return size if _is_unit(data, end - size, end) else 0
    return 0


@numba.njit(cache=True, nogil=True)
def _is_unit(data: U8, start: int, end: int) -> bool:
    value = np.uint64(0)
    for i in range(end - 1, start - 1, -1):
        value = (value << np.uint64(8)) | np.uint64(data[i])
    for unit in UNITS:
        if unit == value:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _dots(data: U8, start: int, end: int) -> int:
    """Two dots or more; one after a digit, a small letter, a mark or two capitals."""
    run = end - 1
    while run > start and data[run - 1] == 46:
        run -= 1
    if end - run > 1:
        return end - run
    if run == start:
        return 0
    before = data[run - 1]
    kind = CLASSES[before]
    if kind & (LOWER | DIGIT | PUNCTUATION | QUOTE):
        return 1
    if before == 37 or before == 45 or before == 43 or before == 124:  # % - + |
        return 1
    return 1 if kind == UPPER and run - start > 1 and CLASSES[data[run - 2]] == UPPER else 0


@numba.njit(cache=True, nogil=True)
def _currency(data: U8, start: int, end: int) -> int:
    """$ after a digit, with US, C or A between them."""
    size = 1
    if end - start > 3 and data[end - 2] == 83 and data[end - 3] == 85:
        size = 3
    elif end - start > 2 and (data[end - 2] == 67 or data[end - 2] == 65):
        size = 2
    return size if end - start > size and CLASSES[data[end - size - 1]] == DIGIT else 0


@numba.njit(cache=True, nogil=True)
def _infix(data: U8, start: int, at: int, end: int) -> int:
    """How many bytes an infix beginning at `at` takes inside `data[start:end]`."""
    here = data[at]
    if CLASSES[here] & _ALPHA or CLASSES[here] == DIGIT:
        return 0
    following = data[at + 1] if at + 1 < end else np.uint8(0)
    if here == 46 and following == 46:
        stop = at + 2
        while stop < end and data[stop] == 46:
            stop += 1
        return stop - at
    if at == start:
        return 0
    before, after = CLASSES[data[at - 1]], CLASSES[following]
    is_operator = here == 43 or here == 45 or here == 42 or here == 94  # + - * ^
    if is_operator and before == DIGIT and (after == DIGIT or following == 45):
        return 1
    if here == 46:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if here == 44:
        return 1 if before & _ALPHA and after & _ALPHA else 0
    if not before & (_ALPHA | DIGIT):
        return 0
    if here == 45:
        stop = at + 1
        while stop < end and stop < at + 3 and data[stop] == 45:
            stop += 1
        return stop - at if stop < end and CLASSES[data[stop]] & _ALPHA else 0
    if here == 126 or here == 58 or here == 60 or here == 62 or here == 61 or here == 47:
        return 1 if after & _ALPHA else 0
    return 0


@numba.njit(cache=True, nogil=True)
def _may_be_url(data: U8, start: int, end: int) -> bool:
    """Whether a top-level domain or four numbers between dots may be in `data[start:end]`."""
    dotted_digits = 0
    for i in range(start, end - 1):
        if data[i] == 46:
            after = CLASSES[data[i + 1]]
            if after == LOWER and i + 2 < end and CLASSES[data[i + 2]] == LOWER:
                return True
            dotted_digits += after == DIGIT
    return dotted_digits > 2


@numba.njit(cache=True, nogil=True)
def _special(data: U8, start: int, end: int, keys: U64, longest: int) -> int:
    """The slot of a special case equal to `data[start:end]`, or UNDECIDED."""
    if end - start > longest or end <= start:
        return UNDECIDED
    key = hash_bytes(data, start, end)
    slot = find_slot(keys, key)
    return slot if keys[slot] == key else UNDECIDED


@numba.njit(cache=True, nogil=True)
def _emit_special(start: int, parts: Any, starts: I64, ends: I64, n: int) -> int:
    """Tokens of a special case, whose lengths are the bytes of `parts` from the lowest up."""
    while parts:
        size = np.int64(parts & np.uint64(255))
        starts[n], ends[n] = start, start + size
        start += size
        parts >>= np.uint64(8)
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def split_chunk(
    data: U8, start: int, end: int, keys: U64, parts: U64, longest: int,
    starts: I64, ends: I64, n: int, suffixes: I64,
) -> int:  # fmt: skip
    """Append the tokens of an ASCII chunk at `n`; the new count, or UNDECIDED.

    `keys`, `parts` are the special cases of at most `longest` bytes; `suffixes` is scratch space
    of one place per byte of the chunk.
    """
    first = n
    stop, num_suffixes = end, 0
    special = UNDECIDED
    while start < stop:
        special = _special(data, start, stop, keys, longest)
        if special >= 0:
            break
        prefix = _prefix(data, start, stop)
        if prefix:
            special = _special(data, start + prefix, stop, keys, longest)
            if special >= 0:
                starts[n], ends[n] = start, start + prefix
                n, start = n + 1, start + prefix
                break
        suffix = _suffix(data, start + prefix, stop)
        if suffix:
            special = _special(data, start, stop - suffix, keys, longest)
            if special >= 0:
                stop -= suffix
                suffixes[num_suffixes] = stop
                num_suffixes += 1
                break
        if not prefix and not suffix:
            break
        if prefix:
            starts[n], ends[n] = start, start + prefix
            n, start = n + 1, start + prefix
        if suffix:
            stop -= suffix
            suffixes[num_suffixes] = stop
            num_suffixes += 1
    if special >= 0:
        n = _emit_special(start, parts[special], starts, ends, n)
    elif start < stop:
        n = _split_core(data, start, stop, starts, ends, n)
        if n < 0:
            return UNDECIDED
    for i in range(num_suffixes - 1, -1, -1):
        starts[n] = suffixes[i]
        ends[n] = suffixes[i - 1] if i else end
        n += 1
    return n if _specials_agree(data, first, n, keys, parts, longest, starts, ends) else UNDECIDED


@numba.njit(cache=True, nogil=True)
def _split_core(data: U8, start: int, stop: int, starts: I64, ends: I64, n: int) -> int:
    """What is left between prefixes and suffixes, split at infixes; UNDECIDED for a likely URL."""
    at, piece, found = start, start, False
    while at < stop:
        size = _infix(data, start, at, stop)
        if not size:
            at += 1
            continue
        if at > start:
            if not found and _may_be_url(data, start, stop):
                return UNDECIDED
            found = True
            if at > piece:
                starts[n], ends[n] = piece, at
                n += 1
            starts[n], ends[n] = at, at + size
            n += 1
            piece = at + size
        at += size
    if piece < stop:
        starts[n], ends[n] = piece, stop
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _specials_agree(
    data: U8, first: int, n: int, keys: U64, parts: U64, longest: int, starts: I64, ends: I64
) -> bool:
    """Whether no run of tokens spells a special case that is divided in another way."""
    for i in range(first, n - 1):
        value = _FNV_OFFSET
        at = starts[i]
        pieces = np.uint64(0)
        for j in range(i, min(n, i + 8)):
            if ends[j] - starts[i] > longest:
                break
            pieces |= np.uint64(ends[j] - starts[j]) << np.uint64(8 * (j - i))
            while at < ends[j]:
                value = (value ^ np.uint64(data[at])) * _FNV_PRIME
                at += 1
            if j > i:
                slot = find_slot(keys, value)
                if keys[slot] == value and parts[slot] != pieces:
                    return False
    return True
