"""The peer's words: what spaCy's blank English tokeniser makes of a text, many times as fast.

    bytes -> chunks between white space -> rules in machine code (peer_rules)    nearly all
                                        -> remembered, or asked of spaCy once    the others
          -> (W,) token starts and ends in the batch's bytes

Used to check our decisions against datatrove's, which takes its English words from spaCy. spaCy is
an optional dependency (`pip install gristmill[parity]`), loaded when the first batch is tokenised.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.peer_rules import I64, U8, U64, find_slot, hash_bytes, split_chunk
from pipeline.store.errors import ConfigError

MAX_REMEMBERED = 1 << 20
"""Distinct chunks kept, about 60 MB; then all are forgotten and asked for again."""
LONGEST_ASKED = 10_000
"""Bytes of a chunk that spaCy is asked about; its rules take quadratic time on `))))...`."""
_FIRST_SLOTS = 1 << 16


@dataclass(frozen=True)
class PeerTokens:
    """The W tokens of N texts; none is empty or contains white space."""

    starts: I64
    """(W,) first byte of each token, as an index into the batch's data."""
    ends: I64
    """(W,) the byte after its last one."""
    bounds: I64
    """(N + 1,) text i owns the tokens from `bounds[i]` to `bounds[i + 1]`."""


def peer_tokens(data: U8, offsets: I64) -> PeerTokens:
    """Tokens of the texts `data[offsets[i]:offsets[i + 1]]` (UTF-8); needs spaCy."""
    return _tokeniser().tokens(data, offsets)


@numba.njit(cache=True, nogil=True)
def _space(data: U8, at: int, end: int) -> int:
    """Bytes of the white-space character at `at` (as `str.isspace` has it), 0 for another one."""
    first = data[at]
    if first == 32 or 9 <= first <= 13 or 28 <= first <= 31:
        return 1
    if first < 0xC2 or first > 0xE3:
        return 0
    second = data[at + 1] if at + 1 < end else np.uint8(0)
    if first == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    third = data[at + 2] if at + 2 < end else np.uint8(0)
    if first == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0  # U+1680
    if first == 0xE2 and second == 0x80:  # U+2000 to 200A, 2028, 2029, 202F
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    if first == 0xE2:
        return 3 if second == 0x81 and third == 0x9F else 0  # U+205F
    return 3 if first == 0xE3 and second == 0x80 and third == 0x80 else 0  # U+3000


@numba.njit(cache=True, nogil=True)
def _tokenise(
    data: U8, offsets: I64, keys: U64, parts: U64, longest: int,
    starts: I64, ends: I64, bounds: I64, suffixes: I64,
) -> int:  # fmt: skip
    """Tokens into `starts`, `ends`, `bounds`; an undecided chunk is one with a negative end.

    Returns how many of those there are.
    """
    n, undecided = 0, 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        while at < end:
            width = _space(data, at, end)
            if width:
                at += width
                continue
            start, is_ascii = at, True
            while at < end and not _space(data, at, end):
                is_ascii &= data[at] < 128
                at += 1
            found = -1
            if is_ascii:
                found = split_chunk(
                    data, start, at, keys, parts, longest, starts, ends, n, suffixes
                )
            if found < 0:
                starts[n], ends[n] = start, -at
                undecided += 1
                found = n + 1
            n = found
        bounds[i + 1] = n
    return undecided


@numba.njit(cache=True, nogil=True)
def _unknown(data: U8, starts: I64, ends: I64, keys: U64, found: I64) -> int:
    """Indices into `found` of the undecided tokens whose chunk is not remembered; how many."""
    n = 0
    for i in range(len(starts)):
        if ends[i] < 0:
            key = hash_bytes(data, starts[i], -ends[i])
            if keys[find_slot(keys, key)] != key:
                found[n] = i
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _expand(
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


@dataclass
class _Memory:
    """Chunk hash -> the byte lengths of its tokens, in arrays that kernels read."""

    keys: U64 = field(default_factory=lambda: np.zeros(_FIRST_SLOTS, np.uint64))
    first: I64 = field(default_factory=lambda: np.zeros(_FIRST_SLOTS, np.int64))
    """Per slot: where in `lengths` its chunk begins; a chunk ends when its bytes are used up."""
    lengths: I64 = field(default_factory=lambda: np.zeros(_FIRST_SLOTS, np.int64))
    num_chunks: int = 0
    num_lengths: int = 0

    def add(self, keys: Iterable[np.uint64], pieces: Iterable[list[int]]) -> None:
        """Remember chunks that are not remembered yet."""
        for key, sizes in zip(keys, pieces, strict=True):
            if 2 * self.num_chunks >= len(self.keys):
                self._grow()
            end = self.num_lengths + len(sizes)
            if end > len(self.lengths):
                more = np.zeros(max(end, 2 * len(self.lengths)), np.int64)
                more[: self.num_lengths] = self.lengths[: self.num_lengths]
                self.lengths = more
            slot = find_slot(self.keys, key)
            self.keys[slot], self.first[slot] = key, self.num_lengths
            self.lengths[self.num_lengths : end] = sizes
            self.num_lengths = end
            self.num_chunks += 1

    def _grow(self) -> None:
        keys, first = self.keys, self.first
        self.keys = np.zeros(2 * len(keys), np.uint64)
        self.first = np.zeros(2 * len(keys), np.int64)
        for old in np.flatnonzero(keys):
            slot = find_slot(self.keys, keys[old])
            self.keys[slot], self.first[slot] = keys[old], first[old]


class _Tokeniser:
    """spaCy's blank English tokeniser, and what it said before."""

    def __init__(self) -> None:
        try:
            import spacy  # optional and heavy
        except ImportError as error:
            raise ConfigError(
                "words of kind spacy need spaCy 3, which is not installed; "
                "pip install 'gristmill[parity]' or use words of kind own"
            ) from error
        self.language = spacy.blank("en")
        self.keys, self.parts, self.longest = _special_cases(self.language.tokenizer.rules)
        self.memory = _Memory()

    def tokens(self, data: U8, offsets: I64) -> PeerTokens:
        offsets = np.array(offsets, np.int64)
        num_bytes = int(offsets[-1] - offsets[0])
        # No text has more tokens than bytes; pages of these that stay unused cost no memory.
        starts, ends, suffixes = (np.empty(num_bytes, np.int64) for _ in range(3))
        bounds = np.zeros(len(offsets), np.int64)
        undecided = _tokenise(
            data, offsets, self.keys, self.parts, self.longest, starts, ends, bounds, suffixes
        )
        n = int(bounds[-1])
        starts, ends = starts[:n], ends[:n]
        if not undecided:
            return PeerTokens(starts.copy(), ends.copy(), bounds)
        self._learn(data, starts, ends, undecided)
        new_starts, new_ends = (np.empty(num_bytes, np.int64) for _ in range(2))
        new_bounds = np.zeros_like(bounds)
        memory = self.memory
        n = _expand(
            data, starts, ends, bounds, memory.keys, memory.first, memory.lengths,
            new_starts, new_ends, new_bounds,
        )  # fmt: skip
        return PeerTokens(new_starts[:n].copy(), new_ends[:n].copy(), new_bounds)

    def _learn(self, data: U8, starts: I64, ends: I64, undecided: int) -> None:
        """Ask spaCy about every chunk among the undecided ones that is not remembered."""
        if self.memory.num_chunks > MAX_REMEMBERED:
            self.memory = _Memory()
        found = np.empty(undecided, np.int64)
        found = found[: _unknown(data, starts, ends, self.memory.keys, found)]
        chunks: dict[bytes, None] = {}
        for i in found:
            chunks[data[starts[i] : -ends[i]].tobytes()] = None
        asked = list(chunks)
        keys = [_key(chunk) for chunk in asked]
        self.memory.add(keys, self._ask(asked))

    def _ask(self, chunks: list[bytes]) -> list[list[int]]:
        """Byte lengths of the tokens of each chunk.

        Chunks are asked about together, between newlines: no rule of spaCy's reaches across one.
        """
        short = [chunk.decode() for chunk in chunks if len(chunk) <= LONGEST_ASKED]
        with self.language.memory_zone():
            doc = self.language.tokenizer("\n".join(short))
            tokens = [token.text for token in doc]
        told = iter(tokens)
        answers: list[list[int]] = []
        for chunk in chunks:
            if len(chunk) > LONGEST_ASKED:
                answers.append([len(chunk)])
                continue
            answers.append(sizes := [])
            for token in told:
                if token == "\n":
                    break
                sizes.append(len(token.encode()))
        assert all(sum(s) == len(c) for s, c in zip(answers, chunks, strict=True))
        return answers


def _special_cases(rules: dict[str, Any]) -> tuple[U64, U64, int]:
    """spaCy's special cases as a hash table: keys, lengths of their tokens (a byte each)."""
    orth = 65  # spacy.symbols.ORTH
    keys = np.zeros(1 << 13, np.uint64)
    parts = np.zeros(1 << 13, np.uint64)
    longest = 0
    for text, tokens in rules.items():
        encoded = text.encode()
        key = _key(encoded)
        slot = find_slot(keys, key)
        sizes = [len(token[orth].encode()) for token in tokens]
        keys[slot] = key
        parts[slot] = sum(size << (8 * i) for i, size in enumerate(sizes))
        longest = max(longest, len(encoded))
    return keys, parts, longest


def _key(text: bytes) -> np.uint64:
    return np.uint64(hash_bytes(np.frombuffer(text, np.uint8), 0, len(text)))


@cache
def _tokeniser() -> _Tokeniser:
    """One per process."""
    return _Tokeniser()
