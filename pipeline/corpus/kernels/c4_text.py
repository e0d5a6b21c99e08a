"""C4's line rules over bytes: each line trimmed, tested and copied to the new text or left out.

Legend: N documents, B bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import DECIMAL, SPACE, TABLE_SIZE, char_classes
from pipeline.corpus.kernels.compiled import Array, leaf
from pipeline.corpus.kernels.lines import line_break, strip_limits
from pipeline.corpus.kernels.phrases import (
    CURLY_BRACKET,
    JAVASCRIPT,
    LOREM_IPSUM,
    POLICY,
    phrase_at,
)
from pipeline.corpus.kernels.utf8 import decode, readonly

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
KEPT, LONG_WORD, UNFINISHED, FEW_WORDS, SCRIPT, POLICIES, CITATIONS = range(7)
_NEWLINE, _BRACKET, _CLOSING, _DOT = 10, 91, 93, 46
_CITATIONS = (b"[edit]", b"[citation needed]")  # and [1], [], which are told by rule
_LONGEST = max(map(len, _CITATIONS))
_BYTES = np.array([list(phrase.ljust(_LONGEST, b"\0")) for phrase in _CITATIONS], np.uint8)
_LENGTHS = np.array([len(phrase) for phrase in _CITATIONS], np.int64)


def rewrite_lines(
    data: U8,
    offsets: I64,
    *,
    min_words: int,
    max_word_chars: int,
    needs_mark: bool,
    drops_citations: bool,
) -> tuple[U8, I64, npt.NDArray[Any]]:
    """((B,) new bytes, (N + 1,) new offsets, (7, N) lines kept, dropped by rule, citations)."""
    out = np.empty(int(offsets[-1] - offsets[0]) + len(offsets), np.uint8)
    new_offsets = np.zeros(len(offsets), np.int64)
    counts = np.zeros((7, len(offsets) - 1), np.int64)
    _rewrite(
        readonly(data),
        readonly(offsets),
        char_classes(),
        min_words,
        max_word_chars,
        needs_mark,
        drops_citations,
        out,
        new_offsets,
        counts,
    )
    return out[: new_offsets[-1]], new_offsets, counts


@leaf
def _rewrite(
    data: Array,
    offsets: Array,
    classes: Array,
    min_words: int,
    max_word_chars: int,
    needs_mark: bool,
    drops_citations: bool,
    out: Array,
    new_offsets: Array,
    counts: Array,
) -> None:
    end = 0  # of what is written
    for row in range(len(offsets) - 1):
        begin, at, hi = end, offsets[row], offsets[row + 1]
        while at < hi:
            words, longest, brackets, stop, gap = _scan_line(data, at, hi, classes)
            first, last = strip_limits(data, at, stop, classes)
            at = stop + gap
            if longest > max_word_chars:
                counts[LONG_WORD, row] += 1
                continue
            if not needs_mark and words < min_words:
                counts[FEW_WORDS, row] += 1
                continue
            start = end
            if brackets and drops_citations:
                end, removed = _copy_without_citations(data, first, last, classes, out, end)
                counts[CITATIONS, row] += removed
            else:
                for k in range(first, last):
                    out[end] = data[k]
                    end += 1
            verdict = _judge_line(out, start, end, words < min_words, needs_mark)
            counts[verdict, row] += 1
            if verdict != KEPT:
                end = start
                continue
            out[end] = _NEWLINE
            end += 1
        end = max(begin, end - 1)  # no newline after the last line
        first, last = strip_limits(out, begin, end, classes)
        if first > begin:
            for k in range(first, last):
                out[begin + k - first] = out[k]
        end = begin + last - first
        new_offsets[row + 1] = end


@leaf
def _scan_line(data: Array, at: int, hi: int, classes: Array) -> tuple[int, int, bool, int, int]:
    """(words, characters of the longest, has a [, where the line ends, bytes of its boundary)."""
    words, longest, size = 0, 0, 0
    brackets = False
    while at < hi:
        byte = data[at]
        if byte < 0x80:
            if byte > 32:
                words += size == 0
                size += 1
                brackets |= byte == _BRACKET
                at += 1
                continue
            gap = line_break(data, at, hi) if byte < 32 else 0
            if gap:
                return words, max(longest, size), brackets, at, gap
            if classes[byte] & SPACE:
                longest = max(longest, size)
                size = 0
            else:
                words += size == 0
                size += 1
            at += 1
            continue
        gap = line_break(data, at, hi)
        if gap:
            return words, max(longest, size), brackets, at, gap
        code, width = decode(data, at)
        if code < TABLE_SIZE and classes[code] & SPACE:
            longest = max(longest, size)
            size = 0
        else:
            words += size == 0
            size += 1
        at += width
    return words, max(longest, size), brackets, at, 0


@leaf
def _copy_without_citations(
    data: Array, first: int, last: int, classes: Array, out: Array, end: int
) -> tuple[int, int]:
    removed = 0
    at = first
    while at < last:
        if data[at] == _BRACKET:
            size = _citation(data, at, last, classes)
            if size:
                removed += 1
                at += size
                continue
        out[end] = data[at]
        end += 1
        at += 1
    return end, removed


@leaf
def _citation(data: Array, at: int, hi: int, classes: Array) -> int:
    """Bytes of [12], [], [edit] or [citation needed] at data[at]; 0 for anything else."""
    place = at + 1
    while place < hi:
        code, width = decode(data, place)
        if code >= TABLE_SIZE or not classes[code] & DECIMAL:
            break
        place += width
    if place < hi and data[place] == _CLOSING:
        return place + 1 - at
    for row in range(len(_LENGTHS)):
        size = _LENGTHS[row]
        if at + size <= hi:
            same = True
            for k in range(size):
                if data[at + k] != _BYTES[row, k]:
                    same = False
                    break
            if same:
                return size
    return 0


@leaf
def _judge_line(out: Array, start: int, end: int, is_short: bool, needs_mark: bool) -> int:
    """KEPT or the rule that drops the line out[start:end], in the peer's order."""
    if needs_mark and not _is_finished(out, start, end):
        return UNFINISHED
    if is_short:
        return FEW_WORDS
    curly, script, policy = False, False, False
    for at in range(start, end):
        if out[at] == CURLY_BRACKET:
            curly = True
        kind = phrase_at(out, at, end)
        if kind == LOREM_IPSUM:
            return KEPT  # for the document's sake: it goes as a whole
        script |= kind == JAVASCRIPT
        policy |= kind == POLICY
    if script:
        return SCRIPT
    return POLICIES if policy and not curly else KEPT


@leaf
def _is_finished(out: Array, start: int, end: int) -> bool:
    """Ends in . ? ! " or ', but not in three dots."""
    if end == start:
        return False
    last = out[end - 1]
    if last != _DOT:
        return last == 63 or last == 33 or last == 34 or last == 39
    return not (end - start >= 3 and out[end - 2] == _DOT and out[end - 3] == _DOT)
