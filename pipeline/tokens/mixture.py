"""Sources in given shares: whose turn it is at any position, in constant time.

The turns of one period are laid out once so that after every n samples each source had its share of
n to within one sample; a period ends with shares exact, and the next one repeats it.

weights 2 : 1   ->   a b a | a b a | ...   position 4 = period 1, place 1 -> b, its sample 1
"""

import hashlib
import heapq
from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError
from pipeline.tokens.order import Ids, SampleOrder

MAX_PERIOD = 1 << 16  # shares that need a longer one are rounded to 1/65,536
Ints = npt.NDArray[np.int64]


def turns_per_period(weights: Sequence[float]) -> list[int]:
    """How often each source comes in one period: its weight exactly, or rounded to MAX_PERIOD."""
    if not weights or any(not 0 < weight < float("inf") for weight in weights):
        raise ConfigError(f"mixture weights {list(weights)} must all be above 0")
    exact = [Fraction(str(weight)) for weight in weights]
    shares = [weight / sum(exact) for weight in exact]
    period = lcm(*(share.denominator for share in shares))
    if period <= MAX_PERIOD:
        return [int(share * period) for share in shares]
    counts = [max(1, int(share * MAX_PERIOD)) for share in shares]
    # What rounding down left over goes to the largest remainders.
    order = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i] * MAX_PERIOD)
    for i in order[: max(0, MAX_PERIOD - sum(counts))]:
        counts[i] += 1
    return counts


def lay_out_turns(counts: Sequence[int]) -> Ints:
    """(sum(counts),) the source of each place: after n places source i had n * share +- 1.

    Turn k of a source with c of M places may come from place k * M // c on and must come before
    ceil((k + 1) * M / c). Taking the earliest deadline among those that may come meets them all
    (Liu, Layland 1973), and windows of this kind keep every prefix within one (Baruah et al. 1996).
    """
    period = sum(counts)
    waiting = [(0, source) for source in range(len(counts))]  # (may come from, source)
    ready: list[tuple[int, int]] = []  # (deadline, source)
    taken = [0] * len(counts)
    turns = np.empty(period, np.int64)
    heapq.heapify(waiting)
    for place in range(period):
        while waiting and waiting[0][0] <= place:
            source = heapq.heappop(waiting)[1]
            deadline = -(-(taken[source] + 1) * period // counts[source])
            heapq.heappush(ready, (deadline, source))
        source = heapq.heappop(ready)[1]
        turns[place] = source
        taken[source] += 1
        heapq.heappush(waiting, (taken[source] * period // counts[source], source))
    return turns


class MixedOrder:
    """Endless positions shared out among sources, each in its own shuffled epochs.

    A pure function of the position, like SampleOrder: nothing is counted along the way.
    """

    def __init__(
        self, seed: int, names: Sequence[str], starts: Sequence[int], weights: Sequence[float]
    ) -> None:
        """Source i has the samples starts[i] to starts[i + 1]; a name seeds its own order."""
        self._turns = lay_out_turns(turns_per_period(weights))
        before = self._turns[:, None] == np.arange(len(names))
        self._counts = before.sum(axis=0)
        # (period,) how many turns the same source had earlier in the period
        self._earlier = (np.cumsum(before, axis=0) - 1)[np.arange(len(before)), self._turns]
        self._starts = list(starts)
        sizes = np.diff(starts).tolist()
        self._orders = [
            SampleOrder(_seed(seed, name), n) for name, n in zip(names, sizes, strict=True)
        ]

    def ids(self, start: int, count: int) -> Ids:
        """Samples at the global positions `start` to `start + count`, (count,) int64."""
        sources, numbers = self._turns_at(start, count)
        out = np.empty(count, np.int64)
        for source in np.unique(sources).tolist():
            rows = np.flatnonzero(sources == source)
            ids = self._orders[source].ids(int(numbers[rows[0]]), len(rows))  # neighbours
            out[rows] = self._starts[source] + ids
        return out

    def epochs(self, start: int, count: int) -> Ids:
        """How often the sample at each of the global positions was seen before, (count,) int64."""
        sources, numbers = self._turns_at(start, count)
        return numbers // np.diff(self._starts)[sources]

    def _turns_at(self, start: int, count: int) -> tuple[Ints, Ints]:
        """Whose turn it is at each position, and how many turns that source had before."""
        period, place = np.divmod(np.arange(start, start + count), len(self._turns))
        sources = self._turns[place]
        return sources, period * self._counts[sources] + self._earlier[place]

    def samples_of(self, position: int) -> list[int]:
        """How many samples of each source come before `position`."""
        period, place = divmod(position, len(self._turns))
        within = np.bincount(self._turns[:place], minlength=len(self._counts))
        return [int(n) for n in period * self._counts + within]


def _seed(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"mixture {seed} {name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big")
