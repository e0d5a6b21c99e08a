"""Intervals: how far a figure would move with other documents or other questions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """`nats / (ln 2 * bytes)`: comparable between tokenizers, unlike token perplexity."""
    return nats / (math.log(2) * num_bytes)


def resamples(documents: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """`draws` times: how often each document is in a resample of as many, (documents,)."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(rng.integers(0, documents, documents), minlength=documents)


def bootstrap_weights(documents: int, draws: int, seed: int) -> np.ndarray:
    """All of `resamples` at once: (draws, documents), rows sum to documents."""
    weights = np.empty((draws, documents), np.int32)
    for row, counts in enumerate(resamples(documents, draws, seed)):
        weights[row] = counts
    return weights


def percentile_interval(values: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The middle `confidence` of the values: for 0.95 the 2.5th and 97.5th percentile."""
    tail = round(50 * (1 - confidence), 9)  # 2.5, not 2.5000000000000022
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def bootstrap_ratio(
    numerator: np.ndarray, denominator: np.ndarray, *, draws: int, seed: int,
    confidence: float = 0.95,
) -> Interval:  # fmt: skip
    """Interval of sum(numerator) / sum(denominator), resampling documents."""
    # One resample at a time: the whole matrix of a large eval set would take gigabytes.
    values = [
        (counts @ numerator) / (counts @ denominator)
        for counts in resamples(len(numerator), draws, seed)
    ]
    return percentile_interval(np.array(values), confidence=confidence)


def wilson(correct: float, total: int) -> Interval:
    """Wilson's 95 % score interval of a share; (0, 1) when nothing was asked."""
    if total == 0:
        return Interval(0.0, 1.0)
    share, z2 = correct / total, Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if correct == total else min(1.0, centre + half))
