"""The arrays of one batch, allocated once and written again and again.

R rows, T positions. A row is read as T + 1 tokens; inputs and targets are copies, one apart.
"""

import numpy as np
import numpy.typing as npt

ArrayBatch = dict[str, npt.NDArray]
"""`inputs`, `targets`, `loss_mask`, `segment_ids`, `positions`, each (rows, T), contiguous."""


class Buffers:
    """Preallocated arrays of one batch."""

    def __init__(self, rows: int, context_length: int) -> None:
        """Room for `rows` windows of `context_length` + 1 tokens."""
        shape = (rows, context_length)
        self.tokens = np.zeros((rows, context_length + 1), np.int64)
        self.inputs, self.targets = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.loss_mask = np.zeros(shape, np.float32)
        self.segment_ids = np.zeros(shape, np.int64)
        self.positions = np.zeros(shape, np.int64)
        self._places = np.arange(rows * context_length).reshape(shape)

    def divide(
        self, starts: list[int], segments: list[int], last: list[int], *, reset_positions: bool
    ) -> None:
        """Write segments, positions and loss mask from where stretches of one document begin.

        `starts` are places in the rows laid end to end, ascending, each row's beginning among them;
        `segments` are the stretches' numbers; `last` are places whose target is another document's.
        Positions count from a stretch's start, or from the row's. Three writes per array whatever
        the number of stretches: loops over them were two thirds of a batch's time.
        """
        edges = np.array([*starts, self._places.size])
        lengths = edges[1:] - edges[:-1]
        self.segment_ids.reshape(-1)[:] = np.repeat(segments, lengths)
        if reset_positions:
            begins = edges[:-1].repeat(lengths).reshape(self._places.shape)
            np.subtract(self._places, begins, out=self.positions)
        else:
            self.positions[:] = self._places[0]
        self.loss_mask.fill(1.0)
        self.loss_mask.reshape(-1)[last] = 0.0

    def batch(self) -> ArrayBatch:
        """The arrays under their names, ready for tensors that share their memory."""
        self.inputs[:] = self.tokens[:, :-1]
        self.targets[:] = self.tokens[:, 1:]
        return {
            "inputs": self.inputs,
            "targets": self.targets,
            "loss_mask": self.loss_mask,
            "segment_ids": self.segment_ids,
            "positions": self.positions,
        }
