"""A text as hashed n-grams: what a linear filter sees of it.

    bytes -> tokens (words; single characters in scripts without spaces; signs) -> buckets

Features are single tokens and pairs of neighbours, as in fastText (Joulin et al. 2017), and n-grams
of bytes where asked for. Nothing is stored but bucket numbers; two n-grams may share one.
"""

import functools

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import (
    DIGIT,
    LETTER,
    MARK,
    SPACE,
    SPACELESS,
    TABLE_SIZE,
    char_classes,
)
from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text

Bytes = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_BLANK, _SIGN, _LETTER, _SINGLE = 0, 1, 2, 3
_PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_SEED = np.uint64(0xCBF29CE484222325)  # FNV-1a's offset basis
_PAIR = np.uint64(0xD6E8FEB86659FD93)  # odd; another multiplier than inside tokens
_GRAM = np.uint64(0xA24BAED4963EE407)  # odd; a third one
_NO_WEIGHTS, _NO_BUCKETS = np.zeros(0, np.float32), np.zeros(0, np.int32)


def count_features(text: Text, *, byte_ngram: int) -> I64:
    """(N,) how many features each document has."""
    return _scanned(text, _NO_WEIGHTS, 0, byte_ngram, _NO_BUCKETS)[1]


def list_features(text: Text, *, bits: int, byte_ngram: int) -> tuple[npt.NDArray[np.int32], I64]:
    """((F,) buckets below 2^bits, (N + 1,) bounds of the documents)."""
    totals = count_features(text, byte_ngram=byte_ngram)
    bounds = np.concatenate([[0], np.cumsum(totals)])
    buckets = np.empty(bounds[-1], np.int32)
    _scanned(text, _NO_WEIGHTS, bits, byte_ngram, buckets)
    return buckets, bounds


def mean_weights(text: Text, weights: F32, *, byte_ngram: int) -> npt.NDArray[np.float64]:
    """(N,) mean weight of each document's features; 0 for documents without any."""
    bits = int(len(weights)).bit_length() - 1
    sums, totals = _scanned(text, weights, bits, byte_ngram, _NO_BUCKETS)
    return sums / np.maximum(totals, 1)


def _scanned(
    text: Text, weights: F32, bits: int, byte_ngram: int, buckets: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], I64]:
    """((N,) sums of weights, (N,) numbers of features); fills `buckets` unless it is empty."""
    sums, totals = np.zeros(len(text), np.float64), np.zeros(len(text), np.int64)
    _scan(text.data, text.offsets, _byte_table(), _class_table(), weights, bits, byte_ngram,
          buckets, totals, sums)  # fmt: skip
    return sums, totals


@functools.cache
def _class_table() -> Bytes:
    """(TABLE_SIZE,) _BLANK, _SIGN, _LETTER or _SINGLE for every code point."""
    bits = char_classes()
    table = np.full(TABLE_SIZE, _SIGN, np.uint8)
    table[(bits & SPACE) != 0] = _BLANK
    table[(bits & (LETTER | MARK | DIGIT)) != 0] = _LETTER
    table[(bits & SPACELESS) != 0] = _SINGLE
    return table


@functools.cache
def _byte_table() -> Bytes:
    """(256,) ASCII in lower case, every digit as 0."""
    table = np.arange(256, dtype=np.uint8)
    table[65:91] += 32
    table[48:58] = 48
    return table


@leaf
def _bucket(hashed: np.uint64, bits: int) -> int:
    mixed = (hashed ^ (hashed >> np.uint64(29))) * _PRIME
    return np.int64(mixed >> np.uint64(64 - bits))  # type: ignore[return-value]


@leaf
def _emit(
    hashed: np.uint64, bits: int, weights: F32, buckets: npt.NDArray[np.int32], at: int
) -> float:
    """The feature's weight, or 0 with its bucket noted at `at`."""
    if bits == 0:
        return 0.0
    bucket = _bucket(hashed, bits)
    if len(weights):
        return np.float64(weights[bucket])
    if len(buckets):
        buckets[at] = bucket
    return 0.0


@leaf
def _width(first: int) -> int:
    """Bytes of the character that begins with this byte."""
    if first < 0x80:
        return 1
    return 2 if first < 0xE0 else (3 if first < 0xF0 else 4)


@leaf
def _kind(data: Bytes, at: int, width: int, classes: Bytes) -> int:
    """The class of the character at byte `at`."""
    code = np.int64(data[at])
    if width > 1:
        code &= 0x3F >> (width - 1)
        for k in range(1, width):
            code = (code << 6) | (np.int64(data[at + k]) & 0x3F)
    return np.int64(classes[code]) if code < len(classes) else _SIGN  # type: ignore[return-value]


@leaf
def _token_end(data: Bytes, at: int, stop: int, classes: Bytes) -> int:
    """The end of the token at byte `at`, or `at` where there is white space."""
    width = _width(data[at])
    kind = _kind(data, at, width, classes)
    if kind == _BLANK:
        return at
    end = at + width
    while kind == _LETTER and end < stop:
        width = _width(data[end])
        if _kind(data, end, width, classes) != _LETTER:
            break
        end += width
    return end


@leaf
def _hash(data: Bytes, start: int, end: int, fold: Bytes, multiplier: np.uint64) -> np.uint64:
    hashed = _SEED
    for k in range(start, end):
        hashed = (hashed ^ np.uint64(fold[data[k]])) * multiplier
    return hashed


@leaf
def _scan(
    data: Bytes, offsets: I64, fold: Bytes, classes: Bytes, weights: F32, bits: int,
    byte_ngram: int, buckets: npt.NDArray[np.int32], totals: I64,
    sums: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    """Count the features of every document, add up their weights, note their buckets."""
    at = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        begin, total, previous = at, 0.0, np.uint64(0)
        position = start
        while position < stop:
            end = _token_end(data, position, stop, classes)
            if end == position:
                position += _width(data[position])
                continue
            hashed = _hash(data, position, end, fold, _PRIME)
            total += _emit(hashed, bits, weights, buckets, at)
            at += 1
            if previous != 0:
                total += _emit((previous * _PAIR) ^ hashed, bits, weights, buckets, at)
                at += 1
            previous = hashed
            position = end
        if byte_ngram:
            for end in range(start + byte_ngram, stop + 1):
                if end == stop or data[end] & 0xC0 != 0x80:  # only where a character ends
                    gram = _hash(data, end - byte_ngram, end, fold, _GRAM)
                    total += _emit(gram, bits, weights, buckets, at)
                    at += 1
        totals[document] = at - begin
        sums[document] = total
