"""How much of the space of questions a set of examples covers, and the k examples that cover most.

    embeddings (N, D) -> unit vectors -> k-means: cluster sizes, effective number of clusters
                                      -> k-centre greedy: the next one is the farthest from all
                                      -> two principal axes: the map a person looks at

Diversity of the fine-tuning data widens what a model learns to answer; one popular cluster of near
copies does not. Everything is deterministic for a seed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
ROUNDS = 25  # of k-means at most; it stops when no example changes its cluster
BLOCK = 4_096  # rows of a distance matrix at once


@dataclass(frozen=True)
class Clusters:
    """k groups of N examples."""

    label: I64
    """(N,) cluster of each example."""
    sizes: I64
    """(k,) descending."""

    @property
    def effective(self) -> float:
        """exp(entropy of the sizes): k when all are equal, 1 when one holds everything."""
        shares = self.sizes[self.sizes > 0] / self.sizes.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))


def unit(embeddings: npt.NDArray[np.floating]) -> F32:
    """(N, D) centred rows of length 1; a row of zeros stays zero.

    Mean-pooled states of a language model share one large direction (Ethayarajh 2019); centring
    takes it out, so that distances tell examples apart.
    """
    centred = np.asarray(embeddings, np.float64)
    centred = centred - centred.mean(axis=0, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.where(length > 0, length, 1)).astype(np.float32)


def clusters(points: F32, k: int, *, seed: int) -> Clusters:
    """k-means++ (Arthur and Vassilvitskii 2007) and Lloyd's rounds on unit vectors."""
    count = len(points)
    k = min(k, count)
    rng = np.random.default_rng(seed)
    centres = points[[int(rng.integers(count))]]
    nearest = _squared(points, centres)[:, 0]
    while len(centres) < k:
        total = nearest.sum()
        if total <= 0:  # fewer distinct points than clusters
            break
        chosen = int(np.searchsorted(np.cumsum(nearest), rng.random() * total))
        centres = np.concatenate([centres, points[[min(chosen, count - 1)]]])
        nearest = np.minimum(nearest, _squared(points, centres[-1:])[:, 0])
    label = np.full(count, -1, np.int64)
    for _ in range(ROUNDS):
        found = _nearest(points, centres)
        if np.array_equal(found, label):
            break
        label = found
        sums = np.zeros_like(centres)
        np.add.at(sums, label, points)
        sizes = np.bincount(label, minlength=len(centres))
        filled = sizes > 0
        centres[filled] = sums[filled] / sizes[filled, None]
    sizes = np.bincount(label, minlength=len(centres))
    return Clusters(label, np.sort(sizes)[::-1].astype(np.int64))


def k_centre(points: F32, k: int) -> I64:
    """The k examples that k-centre greedy chooses (Gonzalez 1985), in the order chosen.

    It starts at the one nearest to the middle and always takes the farthest from those it has: at
    most twice the best possible covering radius. Ties go to the smaller index.
    """
    k = min(k, len(points))
    middle = points.mean(axis=0, keepdims=True)
    chosen = [int(_squared(points, middle)[:, 0].argmin())]
    nearest = _squared(points, points[chosen])[:, 0]
    nearest[chosen] = -1.0  # a twin of a chosen one comes last, the chosen one never again
    while len(chosen) < k:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, _squared(points, points[[farthest]])[:, 0])
        nearest[farthest] = -1.0
    return np.array(chosen, np.int64)


def covering_radius(points: F32, chosen: I64) -> float:
    """The largest distance of any example to its nearest chosen one."""
    nearest = np.concatenate(
        [
            _squared(points[start : start + BLOCK], points[chosen]).min(axis=1)
            for start in range(0, len(points), BLOCK)
        ]
    )
    return float(np.sqrt(nearest.max()))


def plane(points: F32) -> F32:
    """(N, 2) coordinates on the two principal axes, signs fixed by the largest component."""
    covariance = points.T.astype(np.float64) @ points
    _, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :2]
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(2)])
    return np.asarray(points @ (axes * np.where(signs == 0, 1, signs)), np.float32)


def _squared(points: F32, centres: F32) -> F32:
    """(N, k) squared distances, never negative."""
    cross = points @ centres.T
    lengths = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None]
    return np.maximum(lengths - 2 * cross, 0).astype(np.float32)


def _nearest(points: F32, centres: F32) -> I64:
    found = [
        _squared(points[start : start + BLOCK], centres).argmin(axis=1)
        for start in range(0, len(points), BLOCK)
    ]
    return np.concatenate(found).astype(np.int64)
