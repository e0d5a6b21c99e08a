"""The documents of one source as a token stream of their own, for mixtures.

shards   | a a a | b b | a | b |        documents of two sources as they lie on disk
stream a | a a a | a |                  runs of neighbours, nothing copied
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError
from pipeline.tokens.shards import Shards

Ints = npt.NDArray[np.int64]


class Stream(Protocol):
    """Documents end to end."""

    @property
    def num_tokens(self) -> int:
        """Tokens in all."""

    def read(self, start: int, out: Ints) -> list[int]:
        """Copy tokens from `start` on into `out`; return where in `out` documents begin."""

    def document_lengths(self) -> Ints:
        """Tokens of each document in order, bos and eos included."""


class SourceStream:
    """The documents of `shards` that `chosen` marks, in order, as one stream."""

    def __init__(self, shards: Shards, lengths: Ints, chosen: npt.NDArray[np.bool_]) -> None:
        """`lengths` and `chosen` have one entry per document of the shards."""
        self._shards = shards
        self._lengths = lengths[chosen]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]])))
        first, after = edges[::2], edges[1::2]  # documents first[i] to after[i] form run i
        at = np.concatenate([[0], np.cumsum(lengths)])
        sizes = at[after] - at[first]
        self._places: list[int] = at[first].tolist()
        self._starts: list[int] = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.num_tokens = self._starts[-1]

    def read(self, start: int, out: Ints) -> list[int]:
        """See Stream."""
        if start < 0 or start + len(out) > self.num_tokens:
            raise ConfigError(
                f"tokens {start} to {start + len(out)} lie outside 0 to {self.num_tokens}"
            )
        begins: list[int] = []
        run = bisect_right(self._starts, start) - 1
        filled = 0
        while filled < len(out):
            at = start + filled
            size = min(self._starts[run + 1] - at, len(out) - filled)
            place = self._places[run] + at - self._starts[run]
            inside = self._shards.read(place, out[filled : filled + size])
            begins += [filled + begin for begin in inside]
            filled += size
            run += 1
        return begins

    def document_lengths(self) -> Ints:
        """See Stream."""
        return self._lengths


def by_source(shards: Shards, wanted: Sequence[str]) -> Mapping[str, Stream]:
    """A stream per wanted source; ConfigError when the shards hold none of its documents."""
    lengths = shards.document_lengths()
    codes, names = shards.document_sources()
    streams: dict[str, Stream] = {}
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f"the mixture names the source {name!r}; the shards hold {', '.join(names)}"
            )
        streams[name] = SourceStream(shards, lengths, codes == names.index(name))
    return streams
