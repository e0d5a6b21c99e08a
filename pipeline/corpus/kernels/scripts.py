"""Which East Asian script a document is written in, counted character by character.

Legend: N documents.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import (
    HAN,
    KANA,
    SIMPLIFIED,
    SPACE,
    TABLE_SIZE,
    TRADITIONAL,
    char_classes,
)
from pipeline.corpus.kernels.compiled import Array, leaf
from pipeline.corpus.kernels.utf8 import decode, readonly


def script_counts(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(5, N): visible characters; Han; Kana; only in simplified, only in traditional Chinese."""
    found = np.zeros((5, len(offsets) - 1), np.int64)
    _script_counts(readonly(data), readonly(offsets), char_classes(), found)
    return found


@leaf
def _script_counts(data: Array, offsets: Array, classes: Array, found: Array) -> None:
    for row in range(len(offsets) - 1):
        at, hi = offsets[row], offsets[row + 1]
        while at < hi:
            code, width = decode(data, at)
            at += width
            kind = classes[code] if code < TABLE_SIZE else np.uint32(0)
            if kind & SPACE:
                continue
            found[0, row] += 1
            if kind & HAN:
                found[1, row] += 1
                found[3, row] += (kind & SIMPLIFIED) != 0
                found[4, row] += (kind & TRADITIONAL) != 0
            elif kind & KANA:
                found[2, row] += 1
