"""Repeated word n-grams inside documents, for all documents of a batch at once.

Legend: N documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.grams import repeated_chars
from pipeline.corpus.words import WordTable

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GramMeasures:
    """Shares in 0 to 1 of each document's word characters, (N,) per order."""

    top: dict[int, Shares]
    """In the most frequent n-gram (occurring twice at least; ties: the longest)."""
    duplicate: dict[int, Shares]
    """In n-grams seen before; a character in several of them counts once."""


def gram_measures(
    words: WordTable, *, top: Sequence[int], duplicate: Sequence[int]
) -> GramMeasures:
    """Both kinds of shares for ascending orders; those of `top` lie below those of `duplicate`."""
    orders = (*top, *duplicate)
    covered = repeated_chars(
        words.hashes, words.chars, words.bounds, orders=orders, num_top=len(top)
    )
    ends = np.concatenate([[0], np.cumsum(words.chars, dtype=np.int64)])
    totals = np.maximum(np.diff(ends[words.bounds]), 1)  # (N,)
    # Overlapping occurrences of one n-gram could exceed 1.
    shares = {n: np.minimum(covered[k] / totals, 1.0) for k, n in enumerate(orders)}
    return GramMeasures({n: shares[n] for n in top}, {n: shares[n] for n in duplicate})
