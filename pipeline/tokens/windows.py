"""Windows of a token stream as numbered samples: where documents end, and what is padding.

stream    | b x x e | b y y y y e | ...        T = 4, a window holds T + 1 tokens
window 0    b x x e   b                        target b opens a document: loss_mask 0
window 1              b y y y y                window w starts at token w * T
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.order import Ids
from pipeline.tokens.streams import Stream

Row = npt.NDArray[np.int64]  # (T,)
FEW = 8  # up to here a slice per document is faster than two scans of the row


class Windows:
    """Streams cut into windows of T + 1 tokens, T apart: each token but the first is a target.

    Windows are numbered stream after stream (one stream per source of a mixture, else just one).
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        context_length: int,
        tail: Literal["drop", "pad"] = "drop",
        *,
        reset_positions: bool = True,
    ) -> None:
        """`tail`: what happens to a stream's last window when fewer than T targets are left."""
        if context_length < 1:
            raise ConfigError(f"context_length={context_length} must be at least 1")
        self.context_length, self.reset_positions = context_length, reset_positions
        self.streams = tuple(streams.values())
        starts = [0]
        self.num_targets = 0
        for name, stream in streams.items():
            targets = stream.num_tokens - 1
            least = context_length if tail == "drop" else 1
            if targets < least:
                raise DataError(
                    f"context_length={context_length} needs {least + 1} tokens for a window, "
                    f"{f'the source {name}' if name else 'the shards'} hold"
                    f"{'s' if name else ''} {stream.num_tokens}; lower context_length to at most "
                    f"{max(targets, 0)} or tokenize more text"
                )
            full, rest = divmod(targets, context_length)
            count = full + (tail == "pad" and rest > 0)
            starts.append(starts[-1] + count)
            self.num_targets += min(targets, count * context_length)
        self.starts = tuple(starts)
        self.num_samples = starts[-1]
        self._ramp = np.arange(context_length, dtype=np.int64)

    def fill(self, ids: Ids, into: Buffers) -> None:
        """See Samples. A target that opens the next document gets loss_mask 0."""
        T = self.context_length
        into.loss_mask.fill(1.0)
        into.segment_ids.fill(1)
        into.positions[:] = self._ramp
        blanks = [(row, 0) for row in range(len(ids), len(into.tokens))]
        for row, sample in enumerate(ids.tolist()):
            number = bisect_right(self.starts, sample) - 1
            stream, start = self.streams[number], (sample - self.starts[number]) * T
            left = stream.num_tokens - start
            if left > T:
                begins = stream.read(start, into.tokens[row])
            else:
                begins = stream.read(start, into.tokens[row, :left])
                blanks.append((row, left - 1))
            self._separate(begins, row, into)
        for row, begin in blanks:  # rows beyond the last sample, and what lies beyond the end
            into.tokens[row, begin + (begin > 0) :] = 0
            for values in (into.loss_mask, into.segment_ids, into.positions):
                values[row, begin:] = 0

    def _separate(self, begins: list[int], row: int, into: Buffers) -> None:
        """Number the documents of a row that begin at `begins`; none predicts the next."""
        T = self.context_length
        if begins and begins[0] == 0:
            del begins[0]
        if begins:
            into.loss_mask[row, np.array(begins) - 1] = 0.0
        if begins and begins[-1] == T:
            begins.pop()  # only a target: no input of this row belongs to that document
        segment_ids, positions = into.segment_ids[row], into.positions[row]
        if len(begins) > FEW:
            self._scan(begins, segment_ids, positions)
            return
        for begin in begins:
            segment_ids[begin:] += 1
            if self.reset_positions:
                positions[begin:] = self._ramp[: T - begin]

    def _scan(self, begins: list[int], segment_ids: Row, positions: Row) -> None:
        segment_ids[1:] = 0
        segment_ids[begins] = 1
        np.cumsum(segment_ids, out=segment_ids)
        if self.reset_positions:
            marks = np.zeros_like(positions)
            marks[begins] = begins
            positions -= np.maximum.accumulate(marks)
