"""Rows of digits that may be a personal number: found by a compiled scan, most of them let go.

    every byte -> digits -> rows of digits and separators -> those worth an expression

Legend: K rows.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

MIN_DIGITS = 7
MAX_GAP = 4  # bytes between two groups of one number: `) - `
WIDE_SEPARATORS = "\u00a0\u2010\u2011\u2013－（）"
"""No-break space and hyphen, hyphen, en dash, full-width hyphen and parentheses."""
CONTEXT_MARKS = b" \t.:=#([|*\"'_-"
"""What may stand between a word such as "Tel" and its number."""
_ENDINGS = [word.encode() for word in "el ne on no le ll ax pp er nr at us is sn ty um".split()]
"""The last two letters of every English word that announces a number; see phones, numbers."""

_IS_SEPARATOR = np.zeros(256, np.bool_)
_IS_SEPARATOR[list(b" -.()/" + WIDE_SEPARATORS.encode())] = True
_IS_MARK = np.zeros(256, np.bool_)
_IS_MARK[list(CONTEXT_MARKS)] = True
_IS_ENDING = np.zeros(65536, np.bool_)
_IS_ENDING[[pair[0] << 8 | pair[1] for pair in _ENDINGS]] = True
_ZERO, _NINE, _PLUS, _DASH, _DOT = (ord(char) for char in "09+-.")


def digit_rows(text: Text) -> npt.NDArray[np.int64]:
    """(K, 5): start, end, number of digits, begin and end of the document."""
    first, last = text.offsets[0], text.offsets[-1]
    digits = np.flatnonzero(text.data[first:last] - np.uint8(_ZERO) < 10) + first
    rows = np.empty((len(digits) // MIN_DIGITS, 3), np.int64)
    count = _find(text.data, digits, text.offsets, _IS_SEPARATOR, _IS_MARK, _IS_ENDING, rows)
    rows = rows[:count]
    documents = text.documents_of(rows[:, 0])
    limits = np.stack([text.offsets[documents], text.offsets[documents + 1]], axis=1)
    return np.concatenate([rows, limits], axis=1)


@leaf
def _is_announced(data: Bytes, start: int, document: int, is_mark: Flags, is_ending: Flags) -> bool:
    """Whether a plus sign or the end of a word like "phone" stands in front of byte `start`."""
    at = start - 1
    while at >= document and at > start - 12 and is_mark[data[at]]:
        at -= 1
    if at < document:
        return False
    if data[at] == _PLUS or data[at] >= 0x80:
        return True
    if at == document:
        return False
    return is_ending[(np.int64(data[at - 1]) | 32) << 8 | (np.int64(data[at]) | 32)]


@leaf
def _may_be_personal(data: Bytes, start: int, end: int, size: int) -> bool:
    """Whether an unannounced row has a shape that any rule knows."""
    if end - start == size:  # no separator: mobile numbers of China, cards, identity numbers
        return (size == 11 and data[start] == ord("1")) or 13 <= size <= 19
    if size < 10:  # 030/12345 and its like, 123-45-6789; not 1996-2022, not 2026-11-20
        return size >= 8 and (data[start] == _ZERO or (size == 9 and end - start == 11))
    group = end
    while group > start and _ZERO <= data[group - 1] <= _NINE:
        group -= 1
    if end - group >= 6 and data[group - 1] == _DOT:  # the end of a decimal fraction
        return False
    is_time = size == 10 and end - start == 13 and data[start + 4] == _DASH
    return not (is_time and data[start + 7] == _DASH and data[start + 10] == ord(" "))


@leaf
def _find(
    data: Bytes,
    digits: I64,
    offsets: I64,
    is_separator: Flags,
    is_mark: Flags,
    is_ending: Flags,
    found: npt.NDArray[np.int64],
) -> int:
    """Fill `found` with start, end, size of rows, MAX_GAP separators at most inside; how many."""
    count, size, document = 0, 0, 0
    start = np.int64(0)
    for i in range(len(digits) + 1):
        joined = False
        if i < len(digits) and size:
            gap = digits[i] - digits[i - 1] - 1
            joined = gap <= MAX_GAP and digits[i] < offsets[document + 1]
            for k in range(1, gap + 1 if joined else 0):
                joined &= is_separator[data[digits[i - 1] + k]]
        if joined:
            size += 1
            continue
        if size >= MIN_DIGITS:
            end = digits[i - 1] + 1
            if _may_be_personal(data, start, end, size) or _is_announced(
                data, start, offsets[document], is_mark, is_ending
            ):
                found[count, 0], found[count, 1], found[count, 2] = start, end, size
                count += 1
        if i < len(digits):
            start, size = digits[i], 1
            while offsets[document + 1] <= start:
                document += 1
    return count
