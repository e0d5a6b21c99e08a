"""Rows for training, a pure function of the step number: nothing to save but that one integer.

    B rows of the global batch, W ranks, T positions; a rank gets rows r::W, so (B/W, T) arrays:
    inputs, targets int64   targets[t] is the token after inputs[t]
    loss_mask float32       0 where the target is padding or belongs to another document
    segment_ids int64       documents of a row are 1, 2, ...; 0 is padding
    positions int64         restart at 0 with every segment

Samples are shuffled anew each epoch (pipeline/tokens/order.py). Arrays are reused: a batch is
yours until the next call. numpy and pyarrow only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pipeline.store.errors import ConfigError
from pipeline.tokens.buffers import ArrayBatch, Buffers
from pipeline.tokens.order import Ids, SampleOrder
from pipeline.tokens.rows import PackedFile
from pipeline.tokens.shards import Shards
from pipeline.tokens.windows import Windows


class Samples(Protocol):
    """Numbered training samples that can be written into a batch."""

    num_samples: int
    context_length: int
    fingerprint: str

    def fill(self, ids: Ids, into: Buffers) -> None:
        """Write sample ids[i] into row i, every array; rows beyond len(ids) become padding."""


class Batches:
    """Global batches of `rows` samples, shuffled per epoch; this rank's share of each."""

    def __init__(
        self, samples: Samples, *, rows: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """`rows` is the global batch; it must divide by `world`, the number of ranks."""
        if rows < 1 or world < 1 or not 0 <= rank < world:
            raise ConfigError(f"rows={rows}, rank={rank}, world={world} is no layout of a batch")
        if rows % world:
            raise ConfigError(
                f"a batch of {rows} rows cannot be shared by {world} ranks; "
                f"use a multiple of {world}"
            )
        self.samples = samples
        self.rows, self.seed, self.rank, self.world = rows, seed, rank, world
        self.context_length = samples.context_length
        self.num_samples = samples.num_samples
        self.fingerprint = f"{samples.fingerprint} seed {seed} rows {rows}"
        """Names the sequence of batches: a step number means the same only where this is equal."""
        self._order = SampleOrder(seed, samples.num_samples)
        self._buffers = self.buffers()

    @property
    def local_rows(self) -> int:
        """Rows this rank gets."""
        return self.rows // self.world

    def buffers(self) -> Buffers:
        """Arrays for one batch of this rank, to pass as `into`."""
        return Buffers(self.local_rows, self.context_length)

    def batch(self, step: int, into: Buffers | None = None) -> ArrayBatch:
        """This rank's rows of batch `step` (0, 1, ...; epochs follow each other without a seam).

        The arrays belong to `into`, or to this object, which overwrites them on the next call.
        """
        into = into or self._buffers
        ids = self._order.ids(step * self.rows, self.rows)[self.rank :: self.world]
        self.samples.fill(ids, into)
        return into.batch()

    def in_order(self, max_batches: int | None = None) -> Iterator[ArrayBatch]:
        """Every sample once, unshuffled, the same on every call: for validation loss.

        The last batch is filled up with rows of padding (loss_mask 0, segment 0), so all ranks take
        the same number of steps. Each batch is valid until the next one is asked for.
        """
        total = -(-self.num_samples // self.rows)
        for step in range(total if max_batches is None else min(total, max_batches)):
            stop = min((step + 1) * self.rows, self.num_samples)
            ids = np.arange(step * self.rows, stop, dtype=np.int64)[self.rank :: self.world]
            self.samples.fill(ids, self._buffers)
            yield self._buffers.batch()


class WindowBatches(Batches):
    """Batches of windows over token shards, for pre-training."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        context_length: int,
        rows: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        tail: Literal["drop", "pad"] = "drop",
        verify: Literal["none", "sampled", "full"] = "sampled",
    ) -> None:
        """Open the shards; DataError when they hold fewer than `context_length` + 1 tokens.

        `tail="pad"` keeps the last, shorter window too: right for validation with `in_order`.
        """
        shards = Shards.open(paths, verify=verify)
        super().__init__(
            Windows(shards, context_length, tail), rows=rows, seed=seed, rank=rank, world=world
        )
        self.shards = shards


class PackedRows(Batches):
    """Batches of packed rows of examples, for fine-tuning."""

    def __init__(
        self,
        path: Path,
        *,
        rows: int,
        seed: int = 0,
        context_length: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Open the Arrow file; `context_length` may only widen what the file was packed for."""
        super().__init__(
            PackedFile(Path(path), context_length), rows=rows, seed=seed, rank=rank, world=world
        )
