"""The peer's words: spaCy's own answer for every chunk of text, asked once and remembered.

    bytes -> chunks between white space -> plain words, which no rule of spaCy's divides
                                        -> remembered, or asked of spaCy
          -> TokenTable: (W,) starts and ends in the batch's bytes

The oracle against which our words and decisions are checked: datatrove takes its English words from
spaCy's blank tokeniser, which this reproduces many times as fast. It shares no rule with
`kernels/split.py`. spaCy is an optional dependency (`pip install gristmill[parity]`), loaded when
the first batch is tokenised.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.chunks import (
    I64,
    U8,
    U64,
    Memory,
    expand,
    find_slot,
    gather_unknown,
    hash_bytes,
    split_plain,
)
from pipeline.corpus.kernels.tokens import TokenTable, own_tokens, readonly
from pipeline.store.errors import ConfigError

MAX_REMEMBERED = 1 << 20
"""Distinct chunks kept, about 60 MB; then all are forgotten and asked for again."""
LONGEST_ASKED = 10_000
"""Bytes of a chunk that spaCy is asked about, a longer one counts as one word: spaCy's rules take
quadratic time on `))))...`."""

Tokenise = Callable[[TextBatch], TokenTable]


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
        self.specials = _special_cases(self.language.tokenizer.rules)
        # What else a word is (its shape, its stem...) would be found anew for every word that is
        # asked about, in a third of the time that dividing the text takes. No rule looks at it.
        self.language.vocab.lex_attr_getters = {}
        self.memory = Memory()

    def tokens(self, batch: TextBatch) -> TokenTable:
        """The tokens of a batch; none is empty or contains white space."""
        data, offsets = readonly(batch.data), readonly(batch.offsets)
        num_bytes = int(offsets[-1] - offsets[0])
        # No text has more tokens than bytes; pages of these that stay unused cost no memory.
        starts, ends = np.empty(num_bytes, np.int64), np.empty(num_bytes, np.int64)
        bounds = np.zeros(len(offsets), np.int64)
        undecided = split_plain(data, offsets, self.specials, starts, ends, bounds)
        starts, ends = starts[: bounds[-1]], ends[: bounds[-1]]
        if undecided:
            self._learn(data, starts, ends, undecided)
            memory, old = self.memory, (starts, ends, bounds)
            starts, ends = np.empty(num_bytes, np.int64), np.empty(num_bytes, np.int64)
            bounds = np.zeros_like(bounds)
            n = expand(data, *old, memory.keys, memory.first, memory.lengths, starts, ends, bounds)
            starts, ends = starts[:n], ends[:n]
        return TokenTable(data, starts.copy(), ends.copy(), bounds)

    def _learn(self, data: U8, starts: I64, ends: I64, undecided: int) -> None:
        """Ask spaCy about every chunk among the undecided ones that is not remembered."""
        if self.memory.num_chunks > MAX_REMEMBERED:
            self.memory = Memory()
        slots = 1 << max(4, (2 * undecided).bit_length())
        keys, sizes = np.empty(undecided, np.uint64), np.empty(undecided, np.int64)
        text = np.empty(int(np.where(ends < 0, 1 - ends - starts, 0).sum()), np.uint8)
        count, size = gather_unknown(
            data, starts, ends, self.memory.keys, np.zeros(slots, np.uint64), LONGEST_ASKED,
            keys, sizes, text,
        )  # fmt: skip
        if not count:
            return
        keys, sizes = keys[:count], sizes[:count]
        is_asked = sizes <= LONGEST_ASKED
        lengths, counts = sizes, np.ones(count, np.int64)
        if size:
            asked, counts[is_asked] = self._ask(text[: size - 1].tobytes().decode())
            lengths = np.empty(int(counts.sum()), np.int64)
            own = np.repeat(is_asked, counts)
            lengths[own], lengths[~own] = asked, sizes[~is_asked]
        ends_of_chunks = np.cumsum(counts)
        assert np.array_equal(np.add.reduceat(lengths, ends_of_chunks - counts), sizes)
        self.memory.add(keys, lengths, counts)

    def _ask(self, text: str) -> tuple[I64, I64]:
        """(byte lengths of the tokens of all lines, how many there are in each of K lines).

        Chunks are asked about together, between newlines: no rule of spaCy's reaches across one.
        """
        with self.language.memory_zone():
            doc = self.language.tokenizer(text)
            told = doc.to_array(["ORTH", "LENGTH"])  # (W, 2)
            newline = self.language.vocab.strings["\n"]
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        begins = np.zeros(len(codes) + 1, np.int64)  # byte of each code point
        widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        np.cumsum(widths, out=begins[1:])
        lasts = np.cumsum(told[:, 1].astype(np.int64))  # no token is a space: none lies between
        assert lasts[-1] == len(codes)
        is_newline = told[:, 0] == newline
        lengths = np.diff(begins[lasts], prepend=0)[~is_newline]
        lines = np.cumsum(is_newline)[~is_newline]
        return lengths, np.bincount(lines, minlength=int(is_newline.sum()) + 1)


def _special_cases(rules: Iterable[str]) -> U64:
    """The texts that spaCy divides by a list, as a hash table."""
    keys = np.zeros(1 << 13, np.uint64)
    for text in rules:
        key = _key(text.encode())
        keys[find_slot(keys, key)] = key
    return keys


def _key(text: bytes) -> np.uint64:
    return np.uint64(hash_bytes(np.frombuffer(text, np.uint8), 0, len(text)))


@cache
def _tokeniser() -> _Tokeniser:
    """One per process."""
    return _Tokeniser()


def peer_table(batch: TextBatch) -> TokenTable:
    """spaCy's words of a batch; ConfigError without spaCy."""
    return _tokeniser().tokens(batch)


class OwnWords(BaseModel):
    """Words by our own rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["own"] = "own"

    @property
    def tokenise(self) -> Tokenise:
        """The tokens of a batch; `own_tokens` itself, so that rewrites know whose they are."""
        return own_tokens


class SpacyWords(BaseModel):
    """spaCy's words, to check decisions against datatrove's; slower, and needs spaCy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["spacy"] = "spacy"

    @property
    def tokenise(self) -> Tokenise:
        """The tokens of a batch."""
        return peer_table


AnyWords = Annotated[OwnWords | SpacyWords, Field(discriminator="kind")]
