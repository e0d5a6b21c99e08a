"""The phrases by which C4 knows placeholder text, scripts and policies (Raffel et al. 2020).

Upper and lower case of ASCII letters are the same. Legend: N documents.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.utf8 import readonly

LOREM_IPSUM, JAVASCRIPT, POLICY = 1, 2, 3
NOWHERE = -1
CURLY_BRACKET, _NEWLINE = ord("{"), 10
_P, _S = map(ord, "ps")  # of lorem ipsum
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
_ANCHORS = np.array([7, 0, 7, 3, 3, 8, 10, 7], np.int64)  # p, j, f, v, k, k, k, k
AFTER_ANCHOR = np.zeros(256, np.uint8)
"""What follows an anchor in lower case; it is the same in all phrases. 0 for other bytes."""
for (_, _phrase), _place in zip(_PHRASES, _ANCHORS, strict=True):
    AFTER_ANCHOR[[_phrase[_place], _phrase[_place] - 32]] = _phrase[_place + 1]


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
        line, hi = 0, offsets[row + 1]
        for at in range(offsets[row], hi):
            byte = data[at]
            if byte == _NEWLINE:
                line += 1
            elif byte == CURLY_BRACKET:
                if found[1, row] < 0:
                    found[1, row] = line
            elif byte | 32 == _P and found[0, row] < 0 and at + 1 < hi:
                if (
                    data[at + 1] | 32 == _S
                    and phrase_around(data, offsets[row], at, hi) == LOREM_IPSUM
                ):
                    found[0, row] = line
