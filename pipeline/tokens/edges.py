"""Where documents begin in a whole batch laid end to end: what variable-length attention asks for.

segment_ids  1 1 2 2   cu_seqlens  0 2 4 | 7 8     rows follow each other, padding is a stretch
             1 1 1 0   longest     3               of its own that nothing is trained on
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Edges(NamedTuple):
    """The stretches of a flattened batch that attend only to themselves."""

    cu_seqlens: npt.NDArray[np.int32]
    """(stretches + 1,) their first positions, then the number of all positions."""
    longest: int
    """Positions of the longest one."""


def document_edges(segment_ids: npt.NDArray[np.int64]) -> Edges:
    """The edges of a batch's `segment_ids`, (rows, T)."""
    rows, T = segment_ids.shape
    opens = np.ones((rows, T), np.bool_)  # every row opens a stretch
    np.not_equal(segment_ids[:, 1:], segment_ids[:, :-1], out=opens[:, 1:])
    starts = np.flatnonzero(opens.reshape(-1))
    cu_seqlens = np.append(starts, rows * T).astype(np.int32)
    return Edges(cu_seqlens, int(np.diff(cu_seqlens).max(initial=0)))
