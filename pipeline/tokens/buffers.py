"""The arrays of one batch, allocated once and written again and again.

R rows, T positions. Inputs and targets are two views of the same tokens, one apart.
"""

import numpy as np
import numpy.typing as npt

ArrayBatch = dict[str, npt.NDArray]
"""`inputs`, `targets`, `loss_mask`, `segment_ids`, `positions`, each (rows, T)."""


class Buffers:
    """Preallocated arrays of one batch."""

    def __init__(self, rows: int, context_length: int) -> None:
        """Room for `rows` windows of `context_length` + 1 tokens."""
        shape = (rows, context_length)
        self.tokens = np.zeros((rows, context_length + 1), np.int64)  # inputs and targets overlap
        self.loss_mask = np.zeros(shape, np.float32)
        self.segment_ids = np.zeros(shape, np.int64)
        self.positions = np.zeros(shape, np.int64)

    def batch(self) -> ArrayBatch:
        """The arrays under their names; views, not copies."""
        return {
            "inputs": self.tokens[:, :-1],
            "targets": self.tokens[:, 1:],
            "loss_mask": self.loss_mask,
            "segment_ids": self.segment_ids,
            "positions": self.positions,
        }
