"""C4's line rules over bytes: each line trimmed, tested and copied to the new text or left out.

Legend: N documents, B bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import DECIMAL, SPACE, TABLE_SIZE, char_classes
from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.lines import line_break, strip_limits
from pipeline.corpus.kernels.phrases import (
    AFTER_ANCHOR,
    CURLY_BRACKET,
    JAVASCRIPT,
    LOREM_IPSUM,
    POLICY,
    may_hold_phrase,
    phrase_around,
)
from pipeline.corpus.kernels.utf8 import decode, readonly

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
NEVER = -1  # no number of words is enough
KEPT, LONG_WORD, UNFINISHED, FEW_WORDS, SCRIPT, POLICIES, CITATIONS = range(7)
_NEWLINE, _BRACKET, _CLOSING, _DOT = 10, 91, 93, 46
_CITATIONS = (b"[edit]", b"[citation needed]")  # and [1], [], which are told by rule
_LONGEST = max(map(len, _CITATIONS))
_BYTES = np.array([list(phrase.ljust(_LONGEST, b"\0")) for phrase in _CITATIONS], np.uint8)
_LENGTHS = np.array([len(phrase) for phrase in _CITATIONS], np.int64)

_ENDS_LINE = np.zeros(256, np.bool_)
_ENDS_LINE[[*range(10, 14), *range(28, 31), 0xC2, 0xE2]] = True


@dataclass(frozen=True)
class KeptLines:
    """What was kept of N documents: K lines, each a copy of a stretch of the old text."""

    data: U8
    """(B,) the new text, valid UTF-8."""
    offsets: I64
    """(N + 1,) document i is `data[offsets[i]:offsets[i + 1]]`."""
    counts: npt.NDArray[np.int64]
    """(7, N) lines kept, lines dropped by rule, citations removed."""
    sources: I64
    """(K,) first byte of each line in the old text; -1 where citations were removed from it."""
    targets: I64
    """(K,) first byte in the new text."""
    sizes: I64
    """(K,) bytes."""
    bounds: I64
    """(N + 1,) document i has lines bounds[i] to bounds[i + 1]."""


def rewrite_lines(
    data: U8,
    offsets: I64,
    *,
    min_words: int,
    max_word_chars: int,
    needs_mark: bool,
    drops_citations: bool,
) -> KeptLines:
    """The lines that pass the rules, trimmed."""
    room = int(offsets[-1] - offsets[0]) + len(offsets)
    out = np.empty(room, np.uint8)
    # As many lines as bytes: only what is written to takes memory.
    sources, targets, sizes = (np.empty(room, np.int64) for _ in range(3))
    bounds = np.zeros(len(offsets), np.int64)
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
        readonly(out),  # the same bytes: the rules are compiled for text that is only read
        new_offsets,
        counts,
        sources,
        targets,
        sizes,
        bounds,
    )
    lines = bounds[-1]
    return KeptLines(
        out[: new_offsets[-1]].copy(),
        new_offsets,
        counts,
        sources[:lines].copy(),
        targets[:lines].copy(),
        sizes[:lines].copy(),
        bounds,
    )


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
    written: Array,
    new_offsets: Array,
    counts: Array,
    sources: Array,
    targets: Array,
    sizes: Array,
    bounds: Array,
) -> None:
    end, lines = np.int64(0), 0  # of what is written
    for row in range(len(offsets) - 1):
        begin, at, hi = end, offsets[row], offsets[row + 1]
        while at < hi:
            stop, gap = _line_end(data, at, hi)
            first, last = strip_limits(data, at, stop, classes)
            at = stop + gap
            if last - first > max_word_chars:  # only then can a word be longer
                _, longest = _count_words(data, first, last, classes, np.int64(NEVER))
                if longest > max_word_chars:
                    counts[LONG_WORD, row] += 1
                    continue
            words, _ = _count_words(data, first, last, classes, min_words)
            if not needs_mark and words < min_words:
                counts[FEW_WORDS, row] += 1
                continue
            start, is_short = end, words < min_words
            cuts, removed = False, 0
            if drops_citations:
                cuts = _has_bracket(data, np.uint64(first), np.uint64(last))
            if cuts:
                end, removed = _copy_without_citations(data, first, last, classes, out, end)
                counts[CITATIONS, row] += removed
                verdict = _judge_line(written, start, end, is_short, needs_mark)
            else:
                verdict = _judge_line(data, first, last, is_short, needs_mark)
            counts[verdict, row] += 1
            if verdict != KEPT:
                end = start
                continue
            if not cuts:
                _copy(data, np.uint64(first), np.uint64(last), out, np.uint64(start))
                end = start + last - first
            sources[lines] = -1 if removed else first
            targets[lines], sizes[lines] = start, end - start
            lines += 1
            out[end] = _NEWLINE
            end += 1
        end = max(begin, end - 1)  # no newline after the last line
        first, last = strip_limits(written, begin, end, classes)
        if first > begin:
            for k in range(first, last):
                out[begin + k - first] = out[k]
        for k in range(bounds[row], lines):
            start = max(targets[k], first)
            sizes[k] = max(0, min(targets[k] + sizes[k], last) - start)
            targets[k] = min(start, last) - first + begin
        end = begin + last - first
        new_offsets[row + 1], bounds[row + 1] = end, lines


@inner
def _copy(data: Array, first: np.uint64, last: np.uint64, out: Array, to: np.uint64) -> None:
    """Unsigned places are never counted from the end of an array: this becomes a vector loop."""
    for k in range(last - first):
        out[to + k] = data[first + k]


@inner
def _line_end(data: Array, at: int, hi: int) -> Any:
    """(where the line at data[at] ends, bytes of its boundary)."""
    place, stop = np.uint64(at), np.uint64(hi)
    while place < stop:
        if _ENDS_LINE[data[place]]:
            gap = line_break(data, np.int64(place), hi)
            if gap:
                return np.int64(place), gap
        place += np.uint64(1)
    return hi, 0


@inner
def _has_bracket(data: Array, first: np.uint64, last: np.uint64) -> bool:
    found = False
    for place in range(first, last):
        found |= data[place] == _BRACKET
    return found


@inner
def _count_words(data: Array, at: int, hi: int, classes: Array, enough: int) -> tuple[int, int]:
    """(words, characters of the longest); stops at `enough` words."""
    words, longest, size = 0, 0, 0
    while at < hi:
        code, width = decode(data, at)
        at += width
        if code < TABLE_SIZE and classes[code] & SPACE:
            longest = max(longest, size)
            size = 0
            continue
        if size == 0:
            words += 1
            if words == enough:
                return words, longest
        size += 1
    return words, max(longest, size)


@inner
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


@inner
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


@inner
def _judge_line(data: Array, start: int, end: int, is_short: bool, needs_mark: bool) -> int:
    """KEPT or the rule that drops the line data[start:end], in the peer's order."""
    if needs_mark and not _is_finished(data, start, end):
        return UNFINISHED
    if is_short:
        return FEW_WORDS
    if not may_hold_phrase(data, np.uint64(start), np.uint64(end)):
        return KEPT
    curly, script, policy = False, False, False
    for place in range(np.uint64(start), np.uint64(end)):
        byte = data[place]
        curly |= byte == CURLY_BRACKET
        following = AFTER_ANCHOR[byte]
        if following == 0:
            continue
        at = np.int64(place)
        if at + 1 >= end or (data[at + 1] | 32) != following:
            continue
        kind = phrase_around(data, start, at, end)
        if kind == LOREM_IPSUM:
            return KEPT  # for the document's sake: it goes as a whole
        script |= kind == JAVASCRIPT
        policy |= kind == POLICY
    if script:
        return SCRIPT
    return POLICIES if policy and not curly else KEPT


@inner
def _is_finished(out: Array, start: int, end: int) -> bool:
    """Ends in . ? ! " or ', but not in three dots."""
    if end == start:
        return False
    last = out[end - 1]
    if last != _DOT:
        return last == 63 or last == 33 or last == 34 or last == 39
    return not (end - start >= 3 and out[end - 2] == _DOT and out[end - 3] == _DOT)
