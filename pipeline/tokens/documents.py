"""Whole documents as numbered rows: packed by best fit, or one per row with padding.

A plan of the rows is made at opening from the documents' lengths alone (a few seconds and 40 bytes
a document for millions of them); the same shards always give the same rows.
"""

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.fitting import cut_documents, lay_out
from pipeline.tokens.order import Ids
from pipeline.tokens.streams import Stream


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
        self._plans = []
        starts = [0]
        filled = 0
        for stream in self.streams:
            pieces = cut_documents(stream.document_lengths(), context_length)
            layout = lay_out(pieces.lengths, capacity, pack=pack)
            self._plans.append((pieces, layout))
            starts.append(starts[-1] + len(layout.offsets) - 1)
            filled += int(pieces.lengths.sum())
        self.starts = tuple(starts)
        self.num_samples = starts[-1]
        if not self.num_samples:
            raise DataError("the shards hold no documents; tokenize more text")
        self.padding = 1 - filled / (self.num_samples * capacity)
        """Share of the rows' places that hold no token."""
        self._ramp = np.arange(capacity, dtype=np.int64)

    def fill(self, ids: Ids, into: Buffers) -> None:
        """See Samples."""
        for array in (into.tokens, into.loss_mask, into.segment_ids, into.positions):
            array.fill(0)
        for row, sample in enumerate(ids.tolist()):
            number = bisect_right(self.starts, sample) - 1
            self._fill_row(number, sample - self.starts[number], row, into)

    def _fill_row(self, number: int, sample: int, row: int, into: Buffers) -> None:
        stream, (pieces, layout) = self.streams[number], self._plans[number]
        begin, end = layout.offsets[sample], layout.offsets[sample + 1]
        at = 0
        for segment, piece in enumerate(layout.pieces[begin:end].tolist(), start=1):
            stop = at + int(pieces.lengths[piece])
            stream.read(int(pieces.starts[piece]), into.tokens[row, at:stop])
            into.segment_ids[row, at:stop] = segment  # the last token of a full row is no input
            inputs = into.positions[row, at:stop]
            inputs[:] = self._ramp[: len(inputs)]
            into.loss_mask[row, at : stop - 1] = 1.0  # no piece predicts the next one
            at = stop
