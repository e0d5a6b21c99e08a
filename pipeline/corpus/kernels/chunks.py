"""Chunks of text between white space, and what is remembered about them: the peer's words' kernels.

bytes -> split_plain -> tokens, and chunks to ask about (negative ends)
      -> gather_unknown -> those not yet remembered, once each -> Memory.add
      -> expand -> tokens
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import leaf

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_FIRST_SLOTS = 1 << 16
_EMPTY = np.uint64(0)  # a free slot; no text is given this hash
_NEWLINE = 10
_FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_FNV_PRIME = np.uint64(0x100000001B3)


@leaf
def hash_bytes(data: U8, start: int, end: int) -> Any:
    """64-bit FNV-1a of `data[start:end]`; never _EMPTY."""
    value = _FNV_OFFSET
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * _FNV_PRIME
    return value if value != _EMPTY else _FNV_OFFSET


@leaf
def find_slot(keys: U64, key: Any) -> int:
    """The slot of `key` in an open-addressing table, or the free slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = (key ^ (key >> np.uint64(29))) & mask
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


_SPACE, _WIDE, _MAYBE_SPACE, _LETTER, _SMALL, _CLOSING = (np.uint8(1 << bit) for bit in range(6))


def _byte_kinds() -> U8:
    kinds = np.zeros(256, np.uint8)
    kinds[[*range(9, 14), *range(28, 33)]] = _SPACE
    kinds[128:] = _WIDE
    kinds[[0xC2, 0xE1, 0xE2, 0xE3]] |= _MAYBE_SPACE
    kinds[[*range(65, 91), *range(97, 123)]] = _LETTER
    kinds[97:123] |= _SMALL
    kinds[list(b",:;!?)")] = _CLOSING
    return kinds


_KINDS = _byte_kinds()
"""What a byte says about its chunk: white space, not ASCII, a letter, or a mark that spaCy takes
off the end of any word."""


@leaf
def _wide_space(data: U8, at: int, end: int) -> int:
    """Bytes of the white-space character at `at` (as `str.isspace` has it), 0 for another one."""
    first, second = data[at], data[at + 1] if at + 1 < end else np.uint8(0)
    if first == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    third = data[at + 2] if at + 2 < end else np.uint8(0)
    if first == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0  # U+1680
    if first == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0  # U+3000
    if second == 0x80:  # U+2000 to 200A, 2028, 2029, 202F
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0  # U+205F


@leaf
def _plain(data: U8, start: int, end: int, specials: U64) -> int:
    """Bytes of the word in a chunk of ASCII letters and at most one closing mark, else 0."""
    stop = end
    last = _KINDS[data[end - 1]]
    if last & _CLOSING or (
        data[end - 1] == 46 and end - start > 1 and _KINDS[data[end - 2]] & _SMALL
    ):
        stop -= 1
    if stop == start:
        return 0
    for i in range(start, stop):
        if not _KINDS[data[i]] & _LETTER:
            return 0
    # "don't" and the like: spaCy's list says how they are divided.
    key = hash_bytes(data, start, stop)
    if specials[find_slot(specials, key)] == key:
        return 0
    if stop < end:
        key = hash_bytes(data, start, end)
        if specials[find_slot(specials, key)] == key:
            return 0
    return stop - start


@leaf
def split_plain(data: U8, offsets: I64, specials: U64, starts: I64, ends: I64, bounds: I64) -> int:
    """Tokens into `starts`, `ends`, `bounds`; a chunk to ask about is one with a negative end.

    Returns how many of those there are.
    """
    n, undecided = 0, 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        while at < end:
            start = at
            while at < end:
                kind = _KINDS[data[at]]
                if kind & _SPACE or (kind & _MAYBE_SPACE and _wide_space(data, at, end)):
                    break
                at += 1
            if at == start:
                at += 1 if _KINDS[data[at]] & _SPACE else _wide_space(data, at, end)
                continue
            size = _plain(data, start, at, specials)
            starts[n], ends[n] = start, start + size
            if not size:
                ends[n] = -at
                undecided += 1
            elif start + size < at:
                n += 1
                starts[n], ends[n] = start + size, at
            n += 1
        bounds[i + 1] = n
    return undecided


@leaf
def gather_unknown(
    data: U8, starts: I64, ends: I64, known: U64, fresh: U64, longest: int,
    keys: U64, sizes: I64, out: U8,
) -> tuple[int, int]:  # fmt: skip
    r"""Every chunk among the undecided tokens that is not `known`, once, in the order met.

    Its hash into `keys`, its bytes into `sizes` and, unless they are more than `longest`, its text
    into `out`, with a newline after it. `fresh` is an empty table with room for all of them.
    Returns how many there are and the bytes of their text.
    """
    n, size = 0, 0
    for i in range(len(starts)):
        at, end = starts[i], -ends[i]
        if end <= 0:
            continue
        key = hash_bytes(data, at, end)
        if known[find_slot(known, key)] == key:
            continue
        slot = find_slot(fresh, key)
        if fresh[slot] == key:
            continue
        fresh[slot] = key
        keys[n], sizes[n] = key, end - at
        n += 1
        if end - at <= longest:
            for k in range(end - at):
                out[size + k] = data[at + k]
            size += end - at + 1
            out[size - 1] = _NEWLINE
    return n, size


@leaf
def expand(
    data: U8, starts: I64, ends: I64, bounds: I64, keys: U64, first: I64, lengths: I64,
    new_starts: I64, new_ends: I64, new_bounds: I64,
) -> int:  # fmt: skip
    """Every undecided token replaced by the tokens remembered for its chunk; how many in all."""
    n = 0
    for document in range(len(bounds) - 1):
        for i in range(bounds[document], bounds[document + 1]):
            at = starts[i]
            if ends[i] >= 0:
                new_starts[n], new_ends[n] = at, ends[i]
                n += 1
                continue
            slot = find_slot(keys, hash_bytes(data, at, -ends[i]))
            for k in range(first[slot], len(lengths)):
                new_starts[n], new_ends[n] = at, at + lengths[k]
                at += lengths[k]
                n += 1
                if at >= -ends[i]:
                    break
        new_bounds[document + 1] = n
    return n


@leaf
def insert(keys: U64, first: I64, new_keys: U64, new_first: I64) -> None:
    """Put N new keys, and the place each begins at, into a table with free slots for them."""
    for i in range(len(new_keys)):
        slot = find_slot(keys, new_keys[i])
        keys[slot], first[slot] = new_keys[i], new_first[i]


@dataclass
class Memory:
    """Chunk hash -> the byte lengths of its tokens, in arrays that kernels read."""

    keys: U64 = field(default_factory=lambda: np.zeros(_FIRST_SLOTS, np.uint64))
    first: I64 = field(default_factory=lambda: np.zeros(_FIRST_SLOTS, np.int64))
    """Per slot: where in `lengths` its chunk begins; a chunk ends when its bytes are used up."""
    lengths: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    num_chunks: int = 0

    def add(self, keys: U64, lengths: I64, counts: I64) -> None:
        """Remember distinct chunks that are not remembered yet; (K,) hashes and token counts.

        `lengths` are the byte lengths of all their tokens, chunk by chunk.
        """
        self.num_chunks += len(keys)
        if 2 * self.num_chunks > len(self.keys):
            used, size = np.flatnonzero(self.keys), 4 * 1 << self.num_chunks.bit_length()
            old = self.keys[used], self.first[used]
            self.keys, self.first = np.zeros(size, np.uint64), np.zeros(size, np.int64)
            insert(self.keys, self.first, *old)
        first = len(self.lengths) + np.cumsum(counts) - counts
        insert(self.keys, self.first, keys, first)
        self.lengths = np.concatenate([self.lengths, lengths])
