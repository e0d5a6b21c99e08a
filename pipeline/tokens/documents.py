"""Whole documents as numbered rows: packed by best fit, or one per row with padding.

A plan of the rows is made at opening from the documents' lengths alone (a few seconds and 40 bytes
a document for millions of them); the same shards always give the same rows.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.fitting import Ints, cut_documents, lay_out
from pipeline.tokens.order import Ids
from pipeline.tokens.streams import Stream


class _Plan(NamedTuple):
    """The rows of one stream: what each row holds, row by row."""

    starts: Ints
    """(P,) first token of each piece in the stream."""
    lengths: Ints
    """(P,) its tokens."""
    offsets: Ints
    """(R + 1,) row r holds the pieces offsets[r] to offsets[r + 1]."""


class DocumentRows:
    """Rows of T + 1 tokens made of whole documents; a longer document is cut into pieces.

    Pieces of one document overlap by the token that is the last target of one and the first input
    of the next, so every token but a document's first is a target exactly once.
    """

    def __init__(self, streams: Mapping[str, Stream], context_length: int, *, pack: bool) -> None:
        """Plan the rows of each stream; they are numbered stream after stream."""
        if context_length < 1:
            raise ConfigError(f"context_length={context_length} must be at least 1")
        self.context_length = context_length
        self.streams = tuple(streams.values())
        capacity = context_length + 1
        self._plans: list[_Plan] = []
        starts = [0]
        filled = 0
        for stream in self.streams:
            pieces = cut_documents(stream.document_lengths(), context_length)
            layout = lay_out(pieces.lengths, capacity, pack=pack)
            order = layout.pieces
            plan = _Plan(pieces.starts[order], pieces.lengths[order], layout.offsets)
            self._plans.append(plan)
            starts.append(starts[-1] + len(layout.offsets) - 1)
            filled += int(pieces.lengths.sum())
        self.starts = tuple(starts)
        self.num_samples = starts[-1]
        if not self.num_samples:
            raise DataError("the shards hold no documents; tokenize more text")
        self.padding = 1 - filled / (self.num_samples * capacity)
        """Share of the rows' places that hold no token."""

    def fill(self, ids: Ids, into: Buffers) -> None:
        """See Samples."""
        T = self.context_length
        starts: list[int] = []  # see Buffers.divide
        segments: list[int] = []
        last: list[int] = []
        blanks: list[tuple[int, int]] = []  # rows and where their padding begins
        for row in range(len(into.tokens)):
            stop = self._read(int(ids[row]), row, into, starts, last) if row < len(ids) else 0
            segments += range(1, 1 + len(starts) - len(segments))
            into.tokens[row, stop:] = 0
            if stop < T:
                starts.append(row * T + stop)
                segments.append(0)
                blanks.append((row, stop))
        into.divide(starts, segments, last, reset_positions=True)
        for row, stop in blanks:
            into.loss_mask[row, stop:] = 0
            into.positions[row, stop:] = 0

    def _read(
        self, sample: int, row: int, into: Buffers, starts: list[int], last: list[int]
    ) -> int:
        """Copy the pieces of a sample into a row, add their edges; the tokens of the row."""
        number = bisect_right(self.starts, sample) - 1
        stream, (begins, lengths, offsets) = self.streams[number], self._plans[number]
        sample -= self.starts[number]
        first, end = offsets[sample : sample + 2].tolist()
        at, stop = row * self.context_length, 0
        pieces = zip(begins[first:end].tolist(), lengths[first:end].tolist(), strict=True)
        for begin, length in pieces:
            starts.append(at + stop)
            stop += length
            last.append(at + stop - 1)  # no piece predicts the next one
            stream.read(begin, into.tokens[row, stop - length : stop])
        if stop > self.context_length:
            last.pop()  # the last token of a full row is no input
        return stop
