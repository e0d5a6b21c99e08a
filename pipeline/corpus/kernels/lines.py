"""Lines and paragraphs by scanning bytes: how many repeat, how they begin and how they end.

Legend: N documents.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import SPACE, TABLE_SIZE, TERMINAL, char_classes
from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.grams import table_slots
from pipeline.corpus.kernels.utf8 import decode, readonly

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
SHORT_LINE_CHARS = 30  # FineWeb (Penedo et al. 2024): lines of 30 characters or fewer are short
_STEP = np.uint64(0x9E3779B97F4A7C15)
_NEWLINE, _CARRIAGE_RETURN, _HASH, _DOT, _HYPHEN = 10, 13, 35, 46, 45
_ELLIPSIS, _BULLET, _NEXT_LINE, _LINE_SEPARATOR = 0x2026, 0x2022, 0x85, 0x2028
_POWERS = np.array([pow(int(_STEP), k, 1 << 64) for k in range(1, 1025)], np.uint64)
_COUNTED = np.zeros(256, np.bool_)
"""Whether a byte is counted by `line_shapes` or may begin a line boundary."""
_COUNTED[[_HASH, _DOT, *range(10, 14), *range(28, 31), 0xC2, 0xE2]] = True


def repeated_pieces(data: U8, offsets: I64) -> I64:
    r"""(7, N): lines, repeated ones, their characters; the same of paragraphs; all characters.

    Lines lie between runs of `\n`; an empty first or last one counts. Paragraphs lie between runs
    of two and more in the text without surrounding white space.
    """
    found = np.zeros((7, len(offsets) - 1), np.int64)
    _pieces(readonly(data), readonly(offsets), char_classes(), *_scratch(data, offsets), found)
    return found


def line_shapes(data: U8, offsets: I64) -> I64:
    """(6, N): lines (`str.splitlines`), with a bullet, ending in an ellipsis; `#`, `...`, `…`."""
    found = np.zeros((6, len(offsets) - 1), np.int64)
    _shapes(readonly(data), readonly(offsets), char_classes(), found)
    return found


def web_lines(data: U8, offsets: I64) -> I64:
    r"""(6, N): lines that are not blank, ending in a terminal mark, short, characters of repeated
    lines, characters of the text without `\n`, `\n`."""
    found = np.zeros((6, len(offsets) - 1), np.int64)
    _web(readonly(data), readonly(offsets), char_classes(), *_scratch(data, offsets), found)
    return found


def trimmed_pieces(data: U8, offsets: I64, newlines: int) -> I64:
    r"""(4, N): pieces between runs of `newlines` `\n` or more, repeated ones; characters of both.

    Pieces are trimmed, blank ones do not count.
    """
    found = np.zeros((4, len(offsets) - 1), np.int64)
    _trimmed(
        readonly(data),
        readonly(offsets),
        char_classes(),
        newlines,
        *_scratch(data, offsets),
        found,
    )
    return found


def _scratch(data: U8, offsets: I64) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """A hash table with room for the lines of any one document."""
    most = np.zeros(1, np.int64)
    _most_lines(readonly(data), readonly(offsets), most)
    slots = table_slots(2 * int(most[0]))  # paragraphs are remembered beside lines
    return np.empty(slots, np.uint64), np.zeros(slots, np.int64)


@leaf
def _most_lines(data: Array, offsets: Array, most: Array) -> None:
    for row in range(len(offsets) - 1):
        count = 2
        for at in range(np.uint64(offsets[row]), np.uint64(offsets[row + 1])):
            count += data[at] == _NEWLINE
        most[0] = max(most[0], count)


@inner
def _piece_sum(data: Array, first: int, last: int) -> tuple[np.uint64, int]:
    """(a polynomial over data[first:last], code points in it).

    Each byte has a power of its own, so that no step waits for the one before and all become
    vector instructions: three times as fast as multiplying on.
    """
    key, chars = np.uint64(0), 0
    lo, hi = np.uint64(first), np.uint64(last)
    block = np.uint64(len(_POWERS))
    while lo < hi:
        key = (key ^ key >> np.uint64(32)) * _STEP  # the order of blocks matters, too
        for k in range(min(block, hi - lo)):
            byte = data[lo + k]
            key += np.uint64(byte) * _POWERS[k]
            chars += (byte & 0xC0) != 0x80
        lo += block
    return key, chars


@inner
def _piece_key(key: np.uint64, size: int) -> np.uint64:
    """A polynomial over the bytes of a piece, made fit for a table."""
    mixed = (key ^ np.uint64(size)) * _STEP
    return mixed ^ (mixed >> np.uint64(32))


@inner
def _is_new(key: np.uint64, stamp: int, keys: Array, stamps: Array) -> bool:
    """Whether the hash is met for the first time under this stamp; remembers it."""
    mask = len(keys) - 1
    slot = np.int64(key >> np.uint64(7)) & mask
    while stamps[slot] == stamp and keys[slot] != key:
        slot = (slot + 1) & mask
    fresh = stamps[slot] != stamp
    stamps[slot], keys[slot] = stamp, key
    return fresh


@inner
def strip_limits(data: Array, lo: int, hi: int, classes: Array) -> tuple[int, int]:
    """(first, end) of data[lo:hi] without white space around it."""
    while lo < hi:
        code, width = decode(data, lo)
        if code >= TABLE_SIZE or not classes[code] & SPACE:
            break
        lo += width
    while hi > lo:
        at = hi - 1
        while at > lo and (data[at] & 0xC0) == 0x80:
            at -= 1
        code, width = decode(data, at)
        if code >= TABLE_SIZE or not classes[code] & SPACE:
            break
        hi = at
    return lo, hi


@inner
def _line(data: Array, at: int, hi: int) -> Any:
    r"""(key, characters, end) of the line at data[at], which ends before `\n` or at hi."""
    end, stop = np.uint64(at), np.uint64(hi)
    while end < stop and data[end] != _NEWLINE:
        end += np.uint64(1)
    last = np.int64(end)
    key, chars = _piece_sum(data, at, last)
    return _piece_key(key, last - at), chars, last


@leaf
def _pieces(
    data: Array, offsets: Array, classes: Array, keys: Array, stamps: Array, found: Array
) -> None:
    for row in range(len(offsets) - 1):
        at, hi = offsets[row], offsets[row + 1]
        begin, stop = strip_limits(data, at, hi, classes)
        lines, lines_again, line_chars = 1 if at == hi else 0, 0, 0
        parts, parts_again, part_chars = 1 if begin == stop else 0, 0, 0
        total, edges = 0, 0
        part, size, open_part = np.uint64(0), 0, False
        while at < hi:
            key, chars, end = _line(data, at, hi)
            total += chars + (end < hi)
            if end > at:
                lines += 1
                if not _is_new(key, row + 1, keys, stamps):
                    lines_again += 1
                    line_chars += chars
            elif at == offsets[row]:
                edges += 1  # the empty piece before the first newline
            edges += end == hi - 1  # and the one after the last
            first, last = max(at, begin), min(end, stop)
            if first < last:
                if first != at or last != end:
                    key, chars, _ = _line(data, first, last)
                part = (part ^ key) * _STEP
                size += chars + open_part  # a newline before every line but the first
                open_part = True
            if open_part and (first >= last or end >= stop):
                parts += 1
                if not _is_new(part, row + 1, keys, stamps):
                    parts_again += 1
                    part_chars += size
                part, size, open_part = np.uint64(0), 0, False
            at = end + 1
        if edges == 2:  # the second of two equal, empty pieces
            lines_again += 1
        found[0, row], found[1, row], found[2, row] = lines + edges, lines_again, line_chars
        found[3, row], found[4, row], found[5, row] = parts, parts_again, part_chars
        found[6, row] = total


@leaf
def _trimmed(
    data: Array,
    offsets: Array,
    classes: Array,
    newlines: int,
    keys: Array,
    stamps: Array,
    found: Array,
) -> None:
    for row in range(len(offsets) - 1):
        at, hi = offsets[row], offsets[row + 1]
        while at < hi:
            end, run = at, 0
            while end < hi and run < newlines:
                run = run + 1 if data[end] == _NEWLINE else 0
                end += 1
            first, last = strip_limits(data, at, end, classes)
            at = end
            if first == last:
                continue
            key, chars = _piece_sum(data, first, last)
            found[0, row] += 1
            found[2, row] += chars
            if not _is_new(_piece_key(key, last - first), row + 1, keys, stamps):
                found[1, row] += 1
                found[3, row] += chars


@inner
def line_break(data: Array, at: int, hi: int) -> int:
    """Bytes of the line boundary at data[at] (`str.splitlines`); 0 where there is none."""
    byte = data[at]
    if byte >= 0x20 and byte < 0xC2:
        return 0
    if byte == _CARRIAGE_RETURN:
        return 2 if at + 1 < hi and data[at + 1] == _NEWLINE else 1
    if 10 <= byte <= 12 or 28 <= byte <= 30:
        return 1
    if byte == 0xC2 and data[at + 1] == _NEXT_LINE:
        return 2
    if byte == 0xE2 and data[at + 1] == 0x80 and (data[at + 2] == 0xA8 or data[at + 2] == 0xA9):
        return 3
    return 0


@leaf
def _shapes(data: Array, offsets: Array, classes: Array, found: Array) -> None:
    for row in range(len(offsets) - 1):
        at, hi = offsets[row], offsets[row + 1]
        hashes, dots, ellipses = 0, 0, 0
        lines, bullets, endings = 0, 0, 0
        start = at
        while start < hi:
            end, gap = start, 0
            while end < hi:
                # Most bytes end no line and are not counted.
                place, stop = np.uint64(end), np.uint64(hi)
                while place < stop and not _COUNTED[data[place]]:
                    place += np.uint64(1)
                end = np.int64(place)
                if end == hi:
                    break
                byte = data[end]
                if byte == _HASH:
                    hashes += 1
                elif byte == _DOT:
                    if end + 2 < hi and data[end + 1] == _DOT and data[end + 2] == _DOT:
                        dots += 1
                        end += 2
                else:
                    gap = line_break(data, end, hi)
                    if gap:
                        break
                    if byte == 0xE2 and data[end + 1] == 0x80 and data[end + 2] == 0xA6:
                        ellipses += 1
                end += 1
            lines += 1
            first, last = strip_limits(data, start, end, classes)
            if first < last:
                code, _ = decode(data, first)
                bullets += code == _BULLET or code == _HYPHEN
                endings += _ends_in_ellipsis(data, first, last)
            start = end + gap
        found[0, row], found[1, row], found[2, row] = lines, bullets, endings
        found[3, row], found[4, row], found[5, row] = hashes, dots, ellipses


@inner
def _ends_in_ellipsis(data: Array, lo: int, hi: int) -> bool:
    if hi - lo < 3:
        return False
    a, b, c = data[hi - 3], data[hi - 2], data[hi - 1]
    return (a == _DOT and b == _DOT and c == _DOT) or (a == 0xE2 and b == 0x80 and c == 0xA6)


@inner
def _is_blank(data: Array, at: int, end: int, classes: Array) -> bool:
    while at < end:
        code, width = decode(data, at)
        if code >= TABLE_SIZE or not classes[code] & SPACE:
            return False
        at += width
    return True


@leaf
def _web(
    data: Array, offsets: Array, classes: Array, keys: Array, stamps: Array, found: Array
) -> None:
    for row in range(len(offsets) - 1):
        start, hi = offsets[row], offsets[row + 1]
        lines, terminal, short, again, total, breaks = 0, 0, 0, 0, 0, 0
        while start <= hi:
            key, chars, end = _line(data, start, hi)
            total += chars
            breaks += end < hi
            if not _is_blank(data, start, end, classes):
                last = end - 1
                while (data[last] & 0xC0) == 0x80:
                    last -= 1
                lines += 1
                short += chars <= SHORT_LINE_CHARS
                code, _ = decode(data, last)
                terminal += code < TABLE_SIZE and (classes[code] & TERMINAL) != 0
                if not _is_new(key, row + 1, keys, stamps):
                    again += chars
            start = end + 1
        found[0, row], found[1, row], found[2, row] = lines, terminal, short
        found[3, row], found[4, row], found[5, row] = again, total, breaks
