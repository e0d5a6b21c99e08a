"""Windows of a token stream as numbered samples: where documents end, and what is padding.

stream    | b x x e | b y y y y e | ...        T = 4, a window holds T + 1 tokens
window 0    b x x e   b                        target b opens a document: loss_mask 0
window 1              b y y y y                window w starts at token w * T
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.order import Ids
from pipeline.tokens.shards import Shards

Row = npt.NDArray[np.int64]  # (T,)
FEW = 8  # up to here a slice per document is faster than two scans of the row


@dataclass
class Windows:
    """A stream cut into windows of T + 1 tokens, T apart: each token but the first is a target."""

    shards: Shards
    context_length: int
    tail: Literal["drop", "pad"] = "drop"
    """What happens to the last window when fewer than T targets are left."""

    def __post_init__(self) -> None:
        targets = self.shards.num_tokens - 1
        if self.context_length < 1:
            raise ConfigError(f"context_length={self.context_length} must be at least 1")
        least = self.context_length if self.tail == "drop" else 1
        if targets < least:
            raise DataError(
                f"context_length={self.context_length} needs {least + 1} tokens for a window, the "
                f"shards hold {self.shards.num_tokens}; lower context_length to at most "
                f"{max(targets, 0)} or tokenize more text"
            )
        self._full = targets // self.context_length
        rest = targets % self.context_length if self.tail == "pad" else 0
        self.num_samples = self._full + (rest > 0)
        self.num_targets = self._full * self.context_length + rest
        self.fingerprint = f"{self.shards.fingerprint} windows of {self.context_length}"
        self._ramp = np.arange(self.context_length, dtype=np.int64)

    def fill(self, ids: Ids, into: Buffers) -> None:
        """See Samples. A target that opens the next document gets loss_mask 0."""
        T = self.context_length
        into.loss_mask.fill(1.0)
        into.segment_ids.fill(1)
        into.positions[:] = self._ramp
        for row, sample in enumerate(ids.tolist()):
            begins = self._read(sample * T, into, row)
            if begins and begins[0] == 0:
                del begins[0]
            if begins:
                into.loss_mask[row, np.array(begins) - 1] = 0.0
            if begins and begins[-1] == T:
                begins.pop()  # only a target: no input of this row belongs to that document
            if len(begins) <= FEW:
                for begin in begins:
                    into.segment_ids[row, begin:] += 1
                    into.positions[row, begin:] = self._ramp[: T - begin]
            else:
                self._mark(begins, into.segment_ids[row], into.positions[row])
        self._pad(ids, into)

    def _mark(self, begins: list[int], segment_ids: Row, positions: Row) -> None:
        """Number the documents of one row and restart its positions, by scanning the row."""
        segment_ids[1:] = 0
        segment_ids[begins] = 1
        np.cumsum(segment_ids, out=segment_ids)
        marks = np.zeros_like(positions)
        marks[begins] = begins
        positions -= np.maximum.accumulate(marks)

    def _read(self, start: int, into: Buffers, row: int) -> list[int]:
        left = self.shards.num_tokens - start
        if left > self.context_length:
            return self.shards.read(start, into.tokens[row])
        return self.shards.read(start, into.tokens[row, :left])

    def _pad(self, ids: Ids, into: Buffers) -> None:
        """Blank what lies beyond the stream's end and the rows beyond the last sample."""
        blanks = [(row, 0) for row in range(len(ids), len(into.tokens))]
        if self.num_samples > self._full:
            rest = self.num_targets - self._full * self.context_length
            blanks += [(int(row), rest) for row in np.flatnonzero(ids == self._full)]
        for row, begin in blanks:
            into.tokens[row, begin + (begin > 0) :] = 0
            for values in (into.loss_mask, into.segment_ids, into.positions):
                values[row, begin:] = 0
