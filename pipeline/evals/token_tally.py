"""Where in a document a model is good, and whether it knows how good: two curves over all tokens.

    position      1   2   3-4   5-8  ...      mean nats of the tokens there: what context is worth
    confidence    0..1/15  1/15..2/15 ...     share the model got right when it was that sure

Expected calibration error: the mean distance between confidence and that share over 15 bins of
equal width, weighted by tokens (Guo et al. 2017, arXiv 1706.04599, section 2 and table 1).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15  # Guo et al. 2017, table 1
_LEVELS = 48  # positions to 2^47


class TokenTally:
    """Sums over tokens, so that memory does not grow with them."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self._tokens = np.zeros(_LEVELS, np.int64)
        self._nats = np.zeros(_LEVELS)
        self._bin_tokens = np.zeros(BINS, np.int64)
        self._bin_confidence = np.zeros(BINS)
        self._bin_hits = np.zeros(BINS, np.int64)

    def add(
        self,
        positions: npt.NDArray[np.int64],
        nats: npt.NDArray[np.float64],
        confidence: npt.NDArray[np.float32],
        hits: npt.NDArray[np.bool_],
    ) -> None:
        """Count tokens, (n,) each; positions start at 1."""
        level = np.ceil(np.log2(positions)).astype(np.int64)
        self._tokens += np.bincount(level, minlength=_LEVELS)
        self._nats += np.bincount(level, weights=nats, minlength=_LEVELS)
        place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self._bin_tokens += np.bincount(place, minlength=BINS)
        self._bin_confidence += np.bincount(place, weights=confidence, minlength=BINS)
        self._bin_hits += np.bincount(place, weights=hits, minlength=BINS).astype(np.int64)

    def position_curve(self) -> list[dict[str, Any]]:
        """`first, last, tokens, nats_per_token` per range of positions that holds a token."""
        return [
            {
                "first": (1 << (level - 1)) + 1 if level else 1,
                "last": 1 << level,
                "tokens": int(self._tokens[level]),
                "nats_per_token": float(self._nats[level] / self._tokens[level]),
            }
            for level in np.flatnonzero(self._tokens).tolist()
        ]

    def calibration(self) -> dict[str, Any]:
        """`ece, tokens, accuracy, confidence` and the `bins` that hold a token."""
        tokens = int(self._bin_tokens.sum())
        if not tokens:
            return {"tokens": 0, "bins": []}
        distance = np.abs(self._bin_confidence - self._bin_hits)
        return {
            "ece": math.fsum(distance) / tokens,
            "tokens": tokens,
            "accuracy": float(self._bin_hits.sum() / tokens),
            "confidence": math.fsum(self._bin_confidence) / tokens,
            "bins": [
                {
                    "low": place / BINS, "high": (place + 1) / BINS,
                    "tokens": int(self._bin_tokens[place]),
                    "confidence": float(self._bin_confidence[place] / self._bin_tokens[place]),
                    "accuracy": float(self._bin_hits[place] / self._bin_tokens[place]),
                }
                for place in np.flatnonzero(self._bin_tokens).tolist()
            ],
        }  # fmt: skip
