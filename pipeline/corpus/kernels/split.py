"""UTF-8 bytes into tokens: one pass over the batch, chunk by chunk between white space.

    "(don't, e.g. foo.bar/baz)" -> ( do n't , e.g. foo.bar/baz )

The rules are those of spaCy 3.8's English tokenizer, whose words the published thresholds were
tuned on: exceptions first, then affixes peeled off from both ends, then URLs whole, then infixes.
Characters of scripts without spaces are tokens of their own (there spaCy would keep whole
sentences as one word). A chunk of more than CHUNK_BYTES is cut; a document has
MAX_DOCUMENT_TOKENS, what follows them is not looked at.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.chunk import split_chunk
from pipeline.corpus.kernels.classes import (
    MARK,
    SPACE,
    SPACELESS,
    SUFFIX,
    TABLE_SIZE,
    char_classes,
)
from pipeline.corpus.kernels.compiled import Array, inner, leaf
from pipeline.corpus.kernels.english import MAX_CHARS, exceptions
from pipeline.corpus.kernels.utf8 import decode, readonly

CHUNK_BYTES = 1 << 16
MAX_DOCUMENT_TOKENS = 1 << 22  # 120 MB of tables; forty times the words that Gopher allows
_DOT = ord(".")
_SCRATCH = (  # code points, their bytes, tokens' first and last code points, marks
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    4 * CHUNK_BYTES + 16,
    4 * CHUNK_BYTES + 16,
    CHUNK_BYTES,
)

_MEMO_SLOTS = 1 << 15  # 512 KB: words come back within a text, and few would be found further off
_MEMO_BYTES, _MEMO_TOKENS = 255, 7  # of a chunk that is remembered: a byte for each token's length
_FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_FNV_PRIME = np.uint64(0x100000001B3)

I64 = npt.NDArray[np.int64]


def split_tokens(data: npt.NDArray[np.uint8], begins: I64, ends: I64) -> tuple[I64, I64, I64]:
    """((W,) first bytes, (W,) ends, (N + 1,) bounds) of the tokens of N documents.

    Document i is `data[begins[i]:ends[i]]`, which is valid UTF-8.
    """
    total = int((ends - begins).sum())
    bounds = np.zeros(len(begins) + 1, np.int64)
    scratch = [np.empty(size, np.int32) for size in _SCRATCH]
    memo = [np.zeros(_MEMO_SLOTS, np.uint64) for _ in range(2)]
    table = exceptions()
    # Prose has a token per 5 bytes, Chinese one per 3, nothing more than one per byte.
    for capacity in (total // 3 + 1024, total + 1024):
        firsts, lasts = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        count = _split_batch(
            readonly(data),
            readonly(begins),
            readonly(ends),
            char_classes(),
            table.lengths,
            table.keys,
            table.cuts,
            table.joins,
            table.reach,
            *scratch,
            *memo,
            firsts,
            lasts,
            bounds,
        )
        if count >= 0:
            break
    if 2 * count < len(firsts):  # give back what is not used
        return firsts[:count].copy(), lasts[:count].copy(), bounds
    return firsts[:count], lasts[:count], bounds


@inner
def _plain_word(data: Array, at: int, end: int, classes: Array, lengths: Array) -> int:
    """Bytes of the word of a chunk that is ASCII letters, with a mark after them, or digits.

    0 for any other chunk, and for those that may be exceptions.
    """
    end = min(end, at + CHUNK_BYTES)  # never look far: the next chunk would again
    stop: Any = end
    for place in range(np.uint64(at), np.uint64(end)):
        if not 97 <= (data[place] | 32) <= 122:
            stop = np.int64(place)
            break
    size = stop - at
    if size == 0:
        while stop < end and 48 <= data[stop] <= 57:
            stop += 1
        return stop - at if stop == end or data[stop] == 32 or data[stop] == 10 else 0
    if stop == end and size == CHUNK_BYTES:
        return 0
    row = (data[at] & 127) * 128
    if size <= MAX_CHARS and (lengths[row + data[stop - 1]] >> size) & 1:
        return 0
    if stop == end or data[stop] == 32 or data[stop] == 10:
        return size
    mark = data[stop]
    if stop + 1 < end and data[stop + 1] != 32 and data[stop + 1] != 10:
        return 0
    if mark != _DOT and (mark >= 128 or not classes[mark] & SUFFIX):
        return 0
    if mark == _DOT and data[stop - 1] < 97:
        return 0
    may_be_entry = size < MAX_CHARS and (lengths[row + mark] >> (size + 1)) & 1
    return 0 if may_be_entry else size


@inner
def _read_chunk(
    data: Array, at: int, end: int, classes: Array, codes: Array, places: Array
) -> tuple[int, int, np.uint32]:
    """(characters, where the chunk ends, classes in it); no characters at a space or the like."""
    begin, kinds, size = at, np.uint32(0), 0
    limit = min(end, at + CHUNK_BYTES - 4)
    while at < limit:
        code, width = decode(data, at)
        kind = classes[code] if code < TABLE_SIZE else np.uint32(0)
        if kind & (SPACE | SPACELESS):
            break
        kinds |= kind
        codes[size], places[size] = code, at - begin
        size += 1
        at += width
    places[size] = at - begin
    return size, at, kinds


@inner
def _read_ascii(data: Array, at: int, end: int) -> Any:
    """(hash, bytes) of the chunk at `at` if it is short and all of it ASCII; 0 bytes if not."""
    key, place = _FNV_OFFSET, np.uint64(at)
    limit = np.uint64(min(end, at + _MEMO_BYTES))
    while place < limit:
        byte = data[place]
        if byte <= 32 or byte >= 127:
            break
        key = (key ^ np.uint64(byte)) * _FNV_PRIME
        place += np.uint64(1)
    stop: Any = np.int64(place)
    if stop < end and data[stop] != 32 and data[stop] != 10:
        return key, 0
    return key, stop - at


@inner
def _packed(places: Array, firsts: Array, lasts: Array, found: int) -> np.uint64:
    """The lengths of up to seven tokens above their number; 0 when there are more or gaps."""
    if found > _MEMO_TOKENS:
        return np.uint64(0)
    packed, before = np.uint64(found), 0
    for k in range(found):
        if firsts[k] != before:
            return np.uint64(0)
        before = lasts[k]
        length = np.uint64(places[lasts[k]] - places[firsts[k]])
        packed |= length << np.uint64(8 * k + 8)
    return packed


@inner
def _unpack(packed: np.uint64, at: int, starts: Array, ends: Array, count: int) -> int:
    for _ in range(packed & np.uint64(255)):
        packed >>= np.uint64(8)
        length: Any = np.int64(packed & np.uint64(255))
        starts[count], ends[count] = at, at + length
        at += length
        count += 1
    return count


@inner
def _after_char(data: Array, at: int, end: int, classes: Array) -> int:
    """Where the character at `at` ends with the marks that belong to it."""
    _, width = decode(data, at)
    at += width
    while at < end:
        code, width = decode(data, at)
        if code >= TABLE_SIZE or not classes[code] & MARK:
            break
        at += width
    return at


@leaf
def _split_batch(
    data: Array,
    document_begins: Array,
    document_ends: Array,
    classes: Array,
    lengths: Array,
    keys: Array,
    cuts: Array,
    joins: Array,
    reach: Array,
    codes: Array,
    places: Array,
    firsts: Array,
    lasts: Array,
    marks: Array,
    memo_keys: Array,
    memo_tokens: Array,
    starts: Array,
    ends: Array,
    bounds: Array,
) -> int:
    """How many tokens were written; -1 when there was no room for all.

    `memo_tokens` are the tokens of the last chunk whose hash led to that slot. Chunks return: in
    documentation two of three that are no plain words are found there.
    """
    count = 0
    for row in range(len(document_begins)):
        at, end = document_begins[row], document_ends[row]
        while at < end and count - bounds[row] < MAX_DOCUMENT_TOKENS:
            if data[at] == 32 or data[at] == 10:
                at += 1
                continue
            if count + 8 > len(starts):
                return -1
            size = _plain_word(data, at, end, classes, lengths)
            if size:  # two thirds of all chunks
                starts[count], ends[count] = at, at + size
                count += 1
                at += size
                if at < end and data[at] > 32:  # a mark after the word
                    starts[count], ends[count] = at, at + 1
                    count += 1
                    at += 1
                continue
            key, ascii_size = _read_ascii(data, at, end)
            slot = key >> np.uint64(49)
            if ascii_size and memo_keys[slot] == key:
                count = _unpack(memo_tokens[slot], at, starts, ends, count)
                at += ascii_size
                continue
            size, stop, kinds = _read_chunk(data, at, end, classes, codes, places)
            if count + size + 8 > len(starts):
                return -1
            if size:
                found = split_chunk(
                    codes,
                    size,
                    kinds,
                    classes,
                    lengths,
                    keys,
                    cuts,
                    joins,
                    reach,
                    firsts,
                    lasts,
                    marks,
                )
                if ascii_size:
                    packed = _packed(places, firsts, lasts, found)
                    if packed:
                        memo_keys[slot], memo_tokens[slot] = key, packed
                for k in range(found):
                    starts[count] = at + places[firsts[k]]
                    ends[count] = at + places[lasts[k]]
                    count += 1
                at = stop
                continue
            stop = _after_char(data, at, end, classes)
            code, _ = decode(data, at)
            if code < TABLE_SIZE and classes[code] & SPACELESS:
                starts[count], ends[count] = at, stop
                count += 1
            at = stop
        bounds[row + 1] = count
    return count
