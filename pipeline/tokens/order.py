"""Which sample comes when: a keyed bijection of 0..n-1 per epoch, computed where it is needed.

A Feistel network permutes the next power of four at or above n; a value that lands outside 0..n-1
is sent through again until it lands inside (cycle walking), which keeps it a bijection. No list of
indices exists, so a position in any epoch is found in constant time and memory.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError

Ids = npt.NDArray[np.int64]
ROUNDS = 6  # four make a Feistel network of random functions indistinguishable (Luby, Rackoff 1988)
BLOCK = 1 << 16  # positions permuted at once: numpy's call overhead is spent once per block
_MASK32 = np.uint64(0xFFFFFFFF)


def sample_ids(seed: int, epoch: int, num_samples: int, start: int, count: int) -> Ids:
    """Samples at the positions `start` to `start + count` of a shuffled epoch, (count,) int64.

    Over 0..num_samples every sample occurs once; seed and epoch choose the order.
    """
    if num_samples < 1 or start < 0 or count < 0 or start + count > num_samples:
        raise ConfigError(f"positions {start} to {start + count} lie outside 0 to {num_samples}")
    keys = _keys(seed, epoch, num_samples)
    half_bits = max(1, ((num_samples - 1).bit_length() + 1) // 2)
    values = np.arange(start, start + count, dtype=np.uint64)
    limit = np.uint64(num_samples)
    values = _feistel(values, keys, half_bits)
    outside = np.flatnonzero(values >= limit)
    while outside.size:
        walked = _feistel(values[outside], keys, half_bits)
        values[outside] = walked
        outside = outside[walked >= limit]
    return values.astype(np.int64)


@dataclass
class SampleOrder:
    """Endless positions 0, 1, 2, ...: epoch after epoch, each in an order of its own.

    A pure function of the position; the last block is remembered, which is only a matter of speed.
    """

    seed: int
    num_samples: int
    _block: tuple[int, int] = (-1, -1)
    _ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))

    def ids(self, start: int, count: int) -> Ids:
        """Samples at the global positions `start` to `start + count`, (count,) int64."""
        out = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            epoch, place = divmod(start + filled, self.num_samples)
            block, offset = divmod(place, BLOCK)
            if self._block != (epoch, block):
                size = min(BLOCK, self.num_samples - block * BLOCK)
                self._ids = sample_ids(self.seed, epoch, self.num_samples, block * BLOCK, size)
                self._block = (epoch, block)
            piece = self._ids[offset : offset + count - filled]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
        return out

    def epochs(self, start: int, count: int) -> Ids:
        """How often the sample at each of the global positions was seen before, (count,) int64."""
        return np.arange(start, start + count, dtype=np.int64) // self.num_samples


def _keys(seed: int, epoch: int, num_samples: int) -> list[np.uint64]:
    digest = hashlib.sha256(f"order {seed} {epoch} {num_samples}".encode()).digest()
    return [np.uint64(int.from_bytes(digest[4 * i : 4 * i + 4], "little")) for i in range(ROUNDS)]


def _feistel(
    values: npt.NDArray[np.uint64], keys: list[np.uint64], half_bits: int
) -> npt.NDArray[np.uint64]:
    """One pass of the network over values below 4 ** half_bits."""
    bits, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """32-bit finaliser of MurmurHash3 (Appleby, public domain), in 64-bit lanes."""
    values = values ^ (values >> np.uint64(16))
    values = (values * np.uint64(0x85EBCA6B)) & _MASK32
    values = values ^ (values >> np.uint64(13))
    values = (values * np.uint64(0xC2B2AE35)) & _MASK32
    return values ^ (values >> np.uint64(16))
