"""What every objective works on: the arrays of a batch, and which samples its rows are.

    loader -> arrays (B, T), keys -> objective -> arrays (B, T), some changed -> Batch

An objective is a pure function of the arrays and the keys, so what it draws depends neither on the
batch size, nor on the number of processes, nor on where a run was resumed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray]
"""`inputs`, `targets`, `loss_mask`, `segment_ids`, `positions`, each (B, T); an objective may add
`predicted` (B, M), or `source_inputs` and `source_segments` (B, S) for an encoder beside a decoder,
whose own arrays then are (B, U)."""


@dataclass(frozen=True)
class RowKeys:
    """The identity of each row: drawing is keyed by these numbers and nothing else."""

    seed: int
    epochs: Sequence[int]
    """(B,) how often each sample was seen before."""
    samples: Sequence[int]
    """(B,) number of each sample."""

    def generator(self, row: int, purpose: str) -> np.random.Generator:
        """Random numbers of one row: the same for the same seed, epoch and sample."""
        key = f"{purpose} {self.seed} {self.epochs[row]} {self.samples[row]}".encode()
        digest = hashlib.sha256(key).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


@dataclass(frozen=True)
class Vocabulary:
    """The ids an objective must know."""

    size: int
    """Ordinary ids are 0 to size - 1, less the special ones."""
    special_ids: tuple[int, ...]
    mask: int | None
    """What stands for a hidden token; None where the tokenizer has no such token."""
    sentinels: tuple[int, ...] = ()
    """What stands for the first, second, ... span cut out of a text."""
    start: int | None = None
    """What a target begins with before its first token."""
    end: int | None = None
    """What ends a source and a target."""


class Objective(Protocol):
    """One objective, ready to be applied."""

    def __call__(self, arrays: Arrays, keys: RowKeys) -> Arrays:
        """The arrays to train on; those given may be reused by the loader and are not written."""
