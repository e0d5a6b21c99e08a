"""What a document's tokens add up to: words, letters, lengths, frequent words, sentences.

Legend: N documents, W tokens, K words in a list.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.describe import (
    ALL_PUNCTUATION,
    HAS_ALPHA,
    HAS_NON_SYMBOL,
    IS_SENTENCE_END,
    token_hash,
)
from pipeline.corpus.kernels.tokens import TokenTable
from pipeline.corpus.kernels.utf8 import readonly

I64 = npt.NDArray[np.int64]
_LIST_SLOTS = 1024
_NEWLINE = 10


def word_counts(tokens: TokenTable) -> I64:
    """(3, N): tokens that are not all symbols, their characters, tokens with a letter."""
    found = np.zeros((3, len(tokens)), np.int64)
    _word_counts(tokens.flags, tokens.chars, tokens.bounds, found)
    return found


def distinct_of(tokens: TokenTable, words: Sequence[str]) -> I64:
    """(N,) how many different ones of `words` (512 at most) occur, case as written."""
    keys = np.zeros(_LIST_SLOTS, np.uint64)
    for word in set(words):
        key = token_hash(word)
        slot = key & (_LIST_SLOTS - 1)
        while keys[slot]:
            slot = (slot + 1) & (_LIST_SLOTS - 1)
        keys[slot] = key
    found = np.zeros(len(tokens), np.int64)
    _distinct(tokens.hashes, tokens.bounds, keys, np.zeros(_LIST_SLOTS, np.int64), found)
    return found


def sentence_counts(tokens: TokenTable, offsets: I64) -> I64:
    r"""(N,) sentences, each line between `\n` by itself: a line has one at least.

    A new sentence begins with the first token after a terminal mark that is not punctuation.
    """
    found = np.zeros(len(tokens), np.int64)
    _sentences(
        tokens.data,
        readonly(offsets),
        tokens.starts,
        tokens.ends,
        tokens.bounds,
        tokens.flags,
        found,
    )
    return found


@leaf
def _word_counts(flags: Array, chars: Array, bounds: Array, found: Array) -> None:
    for row in range(len(bounds) - 1):
        words, size, letters = 0, 0, 0
        for k in range(bounds[row], bounds[row + 1]):
            if flags[k] & HAS_NON_SYMBOL:
                words += 1
                size += chars[k]
            letters += flags[k] & HAS_ALPHA
        found[0, row], found[1, row], found[2, row] = words, size, letters


@leaf
def _distinct(hashes: Array, bounds: Array, keys: Array, stamps: Array, found: Array) -> None:
    mask = np.uint64(len(keys) - 1)
    for row in range(len(bounds) - 1):
        count = 0
        for k in range(bounds[row], bounds[row + 1]):
            key = hashes[k]
            slot: Any = np.int64(key & mask)
            while keys[slot] and keys[slot] != key:
                slot = (slot + 1) & np.int64(mask)
            if keys[slot] and stamps[slot] != row + 1:
                stamps[slot] = row + 1
                count += 1
        found[row] = count


@leaf
def _sentences(
    data: Array,
    offsets: Array,
    starts: Array,
    ends: Array,
    bounds: Array,
    flags: Array,
    found: Array,
) -> None:
    for row in range(len(offsets) - 1):
        previous, count, ended = offsets[row], 1, False
        for k in range(bounds[row], bounds[row + 1] + 1):
            start = starts[k] if k < bounds[row + 1] else offsets[row + 1]
            # Between two tokens there is white space only: lines end here, or nowhere.
            line, gap = 0, previous
            for at in range(previous, start):
                if data[at] == _NEWLINE:
                    line += 1
                    count += ended and line == 1 and _is_wide(data, gap, at)
                    ended = False
                    gap = at + 1
            count += line
            if ended and _is_wide(data, gap, start):
                count += 1  # white space beyond one space is a token to the peer
                ended = False
            if k == bounds[row + 1]:
                break
            if flags[k] & IS_SENTENCE_END:
                ended = True
            elif ended and not flags[k] & ALL_PUNCTUATION:
                count += 1
                ended = False
            previous = ends[k]
        found[row] = count


@inner
def _is_wide(data: Array, lo: int, hi: int) -> bool:
    return hi - lo > 1 or (hi - lo == 1 and data[lo] != 32)
