"""Windows of a token stream as numbered samples: where documents end, and what is padding.

stream    | b x x e | b y y y y e | ...        T = 4, a window holds T + 1 tokens
window 0    b x x e   b                        target b opens a document: loss_mask 0
window 1              b y y y y                window w starts at token w * T
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Literal

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.order import Ids
from pipeline.tokens.streams import Stream


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
        self.starts = tuple(starts)
        self.num_samples = starts[-1]

    def fill(self, ids: Ids, into: Buffers) -> None:
        """See Samples. A target that opens the next document gets loss_mask 0."""
        T = self.context_length
        rows = len(into.tokens)
        starts: list[int] = []  # see Buffers.divide
        segments: list[int] = []
        last: list[int] = []
        blanks: list[tuple[int, int]] = []  # rows that are padding from a place on
        for row, sample in enumerate(ids.tolist()):
            number = bisect_right(self.starts, sample) - 1
            stream, start = self.streams[number], (sample - self.starts[number]) * T
            left = stream.num_tokens - start
            if left > T:
                begins = stream.read(start, into.tokens[row])
            else:
                begins = stream.read(start, into.tokens[row, :left])
                blanks.append((row, left - 1))
            starts.append(row * T)
            segments.append(1)
            if begins and begins[0] == 0:
                del begins[0]
            if begins:
                opened = [row * T + begin for begin in begins]
                last += [place - 1 for place in opened]
                if begins[-1] == T:
                    opened.pop()  # only a target: no input of this row belongs to that document
                starts += opened
                segments += range(2, len(opened) + 2)
        for row in range(len(ids), rows):
            starts.append(row * T)
            segments.append(0)
            blanks.append((row, 0))
        into.divide(starts, segments, last, reset_positions=self.reset_positions)
        for row, begin in blanks:  # rows beyond the last sample, and what lies beyond the end
            into.tokens[row, begin + (begin > 0) :] = 0
            for values in (into.loss_mask, into.segment_ids, into.positions):
                values[row, begin:] = 0
