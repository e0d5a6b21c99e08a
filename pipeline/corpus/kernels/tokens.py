"""Where the words of a batch lie: byte spans that every fast filter shares.

    batch -> tokens_of(batch) -> TokenTable -> kernels over hashes, lengths and flags

A token here is what the peers of the web filters call a word: punctuation split off as tokens of
its own, contractions in two, every character of a script without spaces alone. Where the spans come
from can be replaced: `with_tokens` plants a table made by any other tokenizer, and every filter
then judges by it. Everything but the spans is computed from the text.

Legend: N documents, W tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.describe import describe_tokens
from pipeline.corpus.kernels.split import split_tokens
from pipeline.corpus.kernels.utf8 import readonly

I64 = npt.NDArray[np.int64]
_CACHED = "_token_table"


@dataclass(frozen=True)
class TokenTable:
    """The tokens of N documents, back to back, as byte spans in `data`.

    `data[starts[i]:ends[i]]` is token i in UTF-8: never empty, never with white space at its ends.
    """

    data: npt.NDArray[np.uint8]
    """`TextBatch.data` of the batch that the spans point into."""
    starts: I64
    """(W,) first byte of each token, ascending."""
    ends: I64
    """(W,) one past its last byte."""
    bounds: I64
    """(N + 1,): document i owns tokens bounds[i] to bounds[i + 1]."""

    @classmethod
    def of(cls, data: npt.NDArray[np.uint8], begins: I64, ends: I64) -> "TokenTable":
        """Our own tokens of the documents `data[begins[i]:ends[i]]`."""
        return cls(data, *split_tokens(data, begins, ends))

    @classmethod
    def with_flags(
        cls,
        data: npt.NDArray[np.uint8],
        starts: I64,
        ends: I64,
        bounds: I64,
        flags: npt.NDArray[np.uint8],
    ) -> "TokenTable":
        """A table whose flags are known already."""
        table = cls(data, starts, ends, bounds)
        table.__dict__["flags"] = readonly(flags)
        return table

    def __post_init__(self) -> None:
        # Kernels are compiled for one kind of array: contiguous and read-only.
        for name in ("data", "starts", "ends", "bounds"):
            object.__setattr__(self, name, readonly(np.ascontiguousarray(getattr(self, name))))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def counts(self) -> I64:
        """(N,) tokens per document."""
        return np.diff(self.bounds)

    @cached_property
    def facts(self) -> tuple[npt.NDArray[Any], ...]:
        """(hashes, chars, flags), each (W,)."""
        found = describe_tokens(self.data, self.starts, self.ends)
        return tuple(readonly(values) for values in found)

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """(W,) mixed 64-bit hash of the bytes; case counts."""
        return self.facts[0]

    @property
    def chars(self) -> npt.NDArray[np.int32]:
        """(W,) code points of each token."""
        return self.facts[1]

    @cached_property
    def flags(self) -> npt.NDArray[np.uint8]:
        """(W,) HAS_ALPHA, HAS_NON_SYMBOL, ALL_PUNCTUATION, IS_SENTENCE_END (see `describe`)."""
        return self.facts[2]


def own_tokens(batch: TextBatch) -> TokenTable:
    """What our own rules make of a batch; computed anew at each call."""
    return TokenTable.of(batch.data, batch.offsets[:-1], batch.offsets[1:])


_TOKENISE: ContextVar[Callable[[TextBatch], TokenTable]] = ContextVar(
    "tokenise", default=own_tokens
)


@contextmanager
def words_by(tokenise: Callable[[TextBatch], TokenTable]) -> Iterator[None]:
    """Inside, `tokens_of` divides batches by `tokenise`, rewritten ones too."""
    token = _TOKENISE.set(tokenise)
    try:
        yield
    finally:
        _TOKENISE.reset(token)


def tokens_of(batch: TextBatch) -> TokenTable:
    """The batch's tokens: planted ones, else our own; computed once and shared by all filters."""
    cache = batch.__dict__
    if _CACHED not in cache:
        cache[_CACHED] = _TOKENISE.get()(batch)
    table: TokenTable = cache[_CACHED]
    return table


def can_carry_tokens(batch: TextBatch) -> bool:
    """Whether the batch's tokens are known, and by rules that a rewrite may go on with."""
    return _CACHED in batch.__dict__ and _TOKENISE.get() is own_tokens


def with_tokens(batch: TextBatch, table: TokenTable) -> TextBatch:
    """`batch` itself, from now on with the tokens of `table` (N documents, spans in its data)."""
    assert len(table) == len(batch)
    batch.__dict__[_CACHED] = table
    return batch
