"""What every token is, from its bytes alone: a hash, a length and four flags.

Legend: W tokens.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import (
    ENDS_SENTENCE,
    LETTER,
    PUNCTUATION,
    SYMBOL,
    TABLE_SIZE,
    char_classes,
)
from pipeline.corpus.kernels.compiled import Array, leaf
from pipeline.corpus.kernels.utf8 import decode, readonly

HAS_ALPHA = 1  # a letter of any script (str.isalpha)
HAS_NON_SYMBOL = 2  # a character that is not in datatrove's PUNCTUATION_SET
ALL_PUNCTUATION = 4  # nothing but Unicode punctuation
IS_SENTENCE_END = 8  # exactly one of the marks that end a sentence
_STEP = np.uint64(0x9E3779B97F4A7C15)


def describe_tokens(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """((W,) hashes of the bytes, (W,) code points, (W,) flags)."""
    count = len(starts)
    hashes, chars = np.empty(count, np.uint64), np.empty(count, np.int32)
    flags = np.empty(count, np.uint8)
    _describe(readonly(data), starts, ends, char_classes(), hashes, chars, flags)
    return hashes, chars, flags


@leaf
def _describe(
    data: Array,
    starts: Array,
    ends: Array,
    classes: Array,
    hashes: Array,
    chars: Array,
    flags: Array,
) -> None:
    for i in range(len(starts)):
        at, end = starts[i], ends[i]
        value = np.uint64(end - at)
        either, both, size = np.uint32(0), ~np.uint32(0), 0
        for place in range(np.uint64(at), np.uint64(end)):
            byte = data[place]
            if byte >= 0x80:
                break
            kind = classes[byte]
            either |= kind
            both &= kind
            value = (value + np.uint64(byte)) * _STEP
            size += 1
        at += size
        while at < end:
            code, width = decode(data, at)
            kind = classes[code] if code < TABLE_SIZE else np.uint32(0)
            either |= kind
            both &= kind
            value = (value + np.uint64(code)) * _STEP
            size += 1
            at += width
        value ^= value >> np.uint64(32)
        flag = 0
        if either & LETTER:
            flag |= HAS_ALPHA
        if not both & SYMBOL:
            flag |= HAS_NON_SYMBOL
        if both & PUNCTUATION:
            flag |= ALL_PUNCTUATION
        if size == 1 and either & ENDS_SENTENCE:
            flag |= IS_SENTENCE_END
        hashes[i], chars[i], flags[i] = value, size, flag


def token_hash(text: str) -> int:
    """What `describe_tokens` computes for a token."""
    value = len(text.encode())
    for char in text:
        value = ((value + ord(char)) * int(_STEP)) & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 32
