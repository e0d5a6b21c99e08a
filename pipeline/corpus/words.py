"""Words of a batch as numbers: one 64-bit hash per word, found without a Python loop over words.

    UTF-8 bytes -> code points -> classes -> (W,) hashes, with (N + 1,) bounds per document

A word is a run of letters, digits, marks and underscores, lower-cased. In scripts written without
spaces (Han, Kana, Thai, Lao, Khmer, Myanmar) every letter with its marks is a word of its own, so
"5 words" means 5 characters there and no rule built on words presumes spaces.

Legend: N documents, W words.
"""

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.classes import SPACELESS_RANGES, TABLE_SIZE
from pipeline.corpus.word_kernel import (
    CODE_POINTS,
    LETTERS,
    NUM_COUNTS,
    REPLACEMENTS,
    SPACELESS_LETTERS,
    VISIBLE,
    scan_words,
)

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

OTHER, SPACE, DIGIT, LETTER, SPACELESS, MARK = range(6)
HASHED_CHARS = 64  # words that agree in 64 characters and in length count as equal
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
_POWERS = np.array([pow(_MULTIPLIER, k, 1 << 64) for k in range(HASHED_CHARS + 1)], np.uint64)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)  # splitmix64, Steele et al. 2014
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class WordTable:
    """The words of N documents, back to back."""

    hashes: U64
    """(W,) mixed 64-bit hash of the lower-cased word."""
    chars: npt.NDArray[np.int32]
    """(W,) code points of each word."""
    begins: I64
    """(W,) byte of the batch's text where each word starts."""
    bounds: I64
    """(N + 1,): document i owns words bounds[i] to bounds[i + 1]."""
    letters: I64
    """(N,) letters of any script."""
    spaceless: I64
    """(N,) letters of scripts written without spaces."""
    visible: I64
    """(N,) code points that are not white space."""
    replacements: I64
    """(N,) U+FFFD characters."""
    code_points: I64
    """(N,)"""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def counts(self) -> I64:
        """(N,) words per document."""
        return np.diff(self.bounds)

    @property
    def is_spaceless(self) -> npt.NDArray[np.bool_]:
        """(N,) whether most letters belong to scripts written without spaces."""
        return self.spaceless * 2 > self.letters

    def documents(self) -> I64:
        """(W,) which document each word belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    def select(self, keep: npt.NDArray[np.bool_]) -> "WordTable":
        """The documents where `keep` (N,) is true, in order."""
        mask = np.repeat(keep, self.counts)
        bounds = np.concatenate([[0], np.cumsum(self.counts[keep])])
        return WordTable(
            self.hashes[mask],
            self.chars[mask],
            self.begins[mask],
            bounds,
            self.letters[keep],
            self.spaceless[keep],
            self.visible[keep],
            self.replacements[keep],
            self.code_points[keep],
        )


def words_of(batch: TextBatch) -> WordTable:
    """The batch's words, computed once per batch and shared by all filters and signatures."""
    # A cached_property by hand: TextBatch lies below this module and cannot name it.
    cache = batch.__dict__
    if "_word_table" not in cache:
        cache["_word_table"] = words_in(batch.data, batch.offsets)
    table: WordTable = cache["_word_table"]
    return table


def find_words(texts: list[str]) -> WordTable:
    """The words of `texts`."""
    pieces = [text.encode("utf-8", "replace") for text in texts]
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)  # (N + 1,)
    return words_in(np.frombuffer(b"".join(pieces), np.uint8), offsets)


def words_in(data: npt.NDArray[np.uint8], offsets: I64) -> WordTable:
    """The words of the N documents of UTF-8 text that `offsets` (N + 1,) bound in `data`."""
    table = _classes()
    num_bytes = int(offsets[-1] - offsets[0])
    # A word takes two bytes: itself and a separator, or a character of three bytes of its own.
    most = num_bytes // 2 + len(offsets)
    hashes, chars = np.empty(most, np.uint64), np.empty(most, np.int32)
    begins, bounds = np.empty(most, np.int64), np.empty(len(offsets), np.int64)
    counts = np.empty((len(offsets) - 1, NUM_COUNTS), np.int64)
    found = scan_words(
        data, offsets, table.classes, table.lower, _POWERS, hashes, chars, begins, bounds, counts
    )
    return WordTable(
        # Views: what was set aside and not written to takes no memory.
        hashes=hashes[:found],
        chars=chars[:found],
        begins=begins[:found],
        bounds=bounds,
        letters=counts[:, LETTERS],
        spaceless=counts[:, SPACELESS_LETTERS],
        visible=counts[:, VISIBLE],
        replacements=counts[:, REPLACEMENTS],
        code_points=counts[:, CODE_POINTS],
    )


def ascending(values: U64) -> U64:
    """The distinct values in order; `values` is used up.

    np.unique of numpy 2.4 goes through a hash table that takes thirty times as long on millions.
    """
    values.sort()
    keep = np.ones(len(values), np.bool_)
    keep[1:] = values[1:] != values[:-1]
    return values[keep]


def mix(values: U64) -> U64:
    """splitmix64's finaliser: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class _Classes:
    classes: npt.NDArray[np.uint8]
    """Class of each code point."""
    lower: npt.NDArray[np.uint32]
    """Lower case of each code point, where that is one code point."""


@functools.cache
def _classes() -> _Classes:
    """Tables for every code point that may be a letter; built once per process in 0.1 s."""
    kinds = {"L": LETTER, "N": DIGIT, "M": MARK, "Z": SPACE}
    chars = list(map(chr, range(TABLE_SIZE)))
    classes = np.fromiter(
        (kinds.get(category[0], OTHER) for category in map(unicodedata.category, chars)),
        np.uint8,
        count=TABLE_SIZE,
    )
    classes[[9, 10, 11, 12, 13, 0x85]] = SPACE
    classes[ord("_")] = DIGIT
    for first, last in SPACELESS_RANGES:
        block = classes[first : last + 1]
        block[block == LETTER] = SPACELESS
    lower = np.arange(TABLE_SIZE, dtype=np.uint32)
    for code, char in enumerate(chars):
        small = char.lower()
        if small != char and len(small) == 1:
            lower[code] = ord(small)
    return _Classes(classes, lower)
