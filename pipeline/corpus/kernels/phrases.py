"""The phrases by which C4 knows placeholder text, scripts and policies (Raffel et al. 2020).

Upper and lower case of ASCII letters are the same. Legend: N documents.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.utf8 import readonly

LOREM_IPSUM, JAVASCRIPT, POLICY = 1, 2, 3
NOWHERE = -1
CURLY_BRACKET, _NEWLINE = ord("{"), 10
_BLOCK = np.uint64(256)  # bytes looked at together
# The list of the reference implementation (tensorflow_datasets, c4_utils.py).
_PHRASES = (
    (LOREM_IPSUM, b"lorem ipsum"),
    (JAVASCRIPT, b"javascript"),
    (POLICY, b"terms of use"),
    (POLICY, b"privacy policy"),
    (POLICY, b"cookie policy"),
    (POLICY, b"uses cookies"),
    (POLICY, b"use of cookies"),
    (POLICY, b"use cookies"),
)
_LONGEST = max(len(phrase) for _, phrase in _PHRASES)
_BYTES = np.array([list(phrase.ljust(_LONGEST, b"\0")) for _, phrase in _PHRASES], np.uint8)
_LENGTHS = np.array([len(phrase) for _, phrase in _PHRASES], np.int64)
_KINDS = np.array([kind for kind, _ in _PHRASES], np.int64)
# A letter of each phrase that is rare in prose, and where it is: the scan stops only there.
_ANCHORS = np.array([7, 0, 3, 3, 3, 8, 10, 7], np.int64)  # p, j, m, v, k, k, k, k
AFTER_ANCHOR = np.zeros(256, np.uint8)
"""What follows an anchor in lower case; it is the same in all phrases. 0 for other bytes."""
for (_, _phrase), _place in zip(_PHRASES, _ANCHORS, strict=True):
    AFTER_ANCHOR[[_phrase[_place], _phrase[_place] - 32]] = _phrase[_place + 1]
(_P, _S), (_J, _A), (_M, _S), (_V, _A), (_K, _I) = (
    (int(anchor), int(AFTER_ANCHOR[anchor])) for anchor in b"pjmvk"
)


@inner
def may_hold_phrase(data: Array, first: np.uint64, last: np.uint64) -> bool:
    """Whether an anchor and the letter after it are in data[first:last]; vector instructions."""
    found = False
    for k in range(first, max(last, first + np.uint64(1)) - np.uint64(1)):
        one, two = data[k] | 32, data[k + np.uint64(1)] | 32
        found |= ((one == _P) | (one == _M)) & (two == _S)
        found |= ((one == _J) | (one == _V)) & (two == _A)
        found |= (one == _K) & (two == _I)
    return found


@inner
def phrase_around(data: Array, lo: int, at: int, hi: int) -> int:
    """LOREM_IPSUM, JAVASCRIPT or POLICY when data[at] is the anchor of such a phrase; else 0."""
    for row in range(len(_LENGTHS)):
        start = at - _ANCHORS[row]
        if start < lo or start + _LENGTHS[row] > hi or _BYTES[row, at - start] != data[at] | 32:
            continue
        same = True
        for k in range(_LENGTHS[row]):
            byte, wanted = data[start + k], _BYTES[row, k]
            if byte != wanted and not (97 <= wanted <= 122 and byte == wanted - 32):
                same = False
                break
        if same:
            return _KINDS[row]
    return 0


def first_marked_lines(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    r"""((N,) first line with lorem ipsum, (N,) first with a `{`), NOWHERE = -1; `\n` ends lines."""
    found = np.full((2, len(offsets) - 1), NOWHERE, np.int64)
    _first_marked_lines(readonly(data), readonly(offsets), found)
    return found[0], found[1]


@leaf
def _first_marked_lines(data: Array, offsets: Array, found: Array) -> None:
    for row in range(len(offsets) - 1):
        lo, hi = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        curly: Any = hi
        lorem: Any = hi
        at: Any = lo
        while at < hi and (curly == hi or lorem == hi):
            # Blocks without either are most of the text, and are passed over by vector
            # instructions. The last byte of a text begins no phrase.
            stop = min(at + _BLOCK, hi)
            brackets, pairs = False, False
            for k in range(at, stop):
                brackets |= data[k] == CURLY_BRACKET
            for k in range(at, min(stop, hi - np.uint64(1))):
                pairs |= (data[k] | 32 == _P) & (data[k + np.uint64(1)] | 32 == _S)
            if brackets and curly == hi:
                curly = at
                while data[curly] != CURLY_BRACKET:
                    curly += np.uint64(1)
            if pairs and lorem == hi:
                for k in range(at, min(stop, hi - np.uint64(1))):
                    is_anchor = data[k] | 32 == _P and data[k + np.uint64(1)] | 32 == _S
                    if is_anchor and _is_lorem_ipsum(data, np.int64(lo), np.int64(k), np.int64(hi)):
                        lorem = k
                        break
            at = stop
        found[0, row] = _newlines(data, lo, lorem) if lorem < hi else NOWHERE
        found[1, row] = _newlines(data, lo, curly) if curly < hi else NOWHERE


@inner
def _is_lorem_ipsum(data: Array, lo: int, at: int, hi: int) -> bool:
    return phrase_around(data, lo, at, hi) == LOREM_IPSUM


@inner
def _newlines(data: Array, lo: np.uint64, hi: np.uint64) -> int:
    count = 0
    for k in range(lo, hi):
        count += data[k] == _NEWLINE
    return count
