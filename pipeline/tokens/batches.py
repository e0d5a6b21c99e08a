"""Rows for training, a pure function of the step number: nothing to save but that one integer.

    B rows of the global batch, W ranks, T positions; a rank gets rows r::W, so (B/W, T) arrays:
    inputs, targets int64   targets[t] is the token after inputs[t]
    loss_mask float32       0 where the target is padding or belongs to another document
    segment_ids int64       documents of a row are 1, 2, ...; 0 is padding
    positions int64         restart at 0 with every segment

Samples are shuffled anew each epoch (order.py), or drawn from sources by weight (mixture.py).
Arrays are reused: a batch is yours until the next call. numpy and pyarrow only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pipeline.store.errors import ConfigError
from pipeline.tokens.batching import AnyBatching, CutWindows
from pipeline.tokens.buffers import ArrayBatch, Buffers
from pipeline.tokens.documents import DocumentRows
from pipeline.tokens.mixture import MixedOrder
from pipeline.tokens.order import Ids, SampleOrder
from pipeline.tokens.position import DIGITS, LoaderState
from pipeline.tokens.rows import PackedFile
from pipeline.tokens.shards import Shards
from pipeline.tokens.streams import Stream, by_source
from pipeline.tokens.windows import Windows

Transform = Callable[[ArrayBatch, Ids, Ids], ArrayBatch]
"""(arrays, epochs, samples) -> arrays: what an objective makes of each row, by its number."""


class Samples(Protocol):
    """Numbered training samples that can be written into a batch."""

    num_samples: int
    context_length: int

    def fill(self, ids: Ids, into: Buffers) -> None:
        """Write sample ids[i] into row i, every array; rows beyond len(ids) become padding."""


class Order(Protocol):
    """Which sample stands at which position."""

    def ids(self, start: int, count: int) -> Ids:
        """Samples at the positions `start` to `start + count`, (count,) int64."""

    def epochs(self, start: int, count: int) -> Ids:
        """How often each of them was seen before, (count,) int64."""


class Batches:
    """Global batches of `rows` samples, in an order of their own; this rank's share of each."""

    def __init__(
        self,
        samples: Samples,
        order: Order,
        sequence: LoaderState,
        *,
        rows: int,
        rank: int = 0,
        world: int = 1,
        resume_from: LoaderState | None = None,
    ) -> None:
        """`rows` is the global batch; it must divide by `world`, the number of ranks.

        After `resume_from` step 0 is the batch that follows it, whatever `rows` and `world` were
        when it was saved; ConfigError when it is of another sequence than `sequence`.
        """
        if rows < 1 or world < 1 or not 0 <= rank < world:
            raise ConfigError(f"rows={rows}, rank={rank}, world={world} is no layout of a batch")
        if rows % world:
            raise ConfigError(
                f"a batch of {rows} rows cannot be shared by {world} ranks; "
                f"use a multiple of {world}"
            )
        if resume_from is not None:
            resume_from.require(sequence)
            sequence = resume_from
        self.samples, self._order, self._sequence = samples, order, sequence
        self.rows, self.rank, self.world = rows, rank, world
        self.context_length = samples.context_length
        self.num_samples = samples.num_samples
        self.transform: Transform | None = None
        """Applied to every batch of `batch`; it may return its arguments or arrays of its own."""
        self._buffers = self.buffers()

    @property
    def local_rows(self) -> int:
        """Rows this rank gets."""
        return self.rows // self.world

    def state(self, step: int) -> LoaderState:
        """What to save when batches 0 to `step` - 1 have been used; `step` is the next one."""
        return replace(self._sequence, samples_seen=self._position(step))

    def _position(self, step: int) -> int:
        return self._sequence.samples_seen + step * self.rows

    def buffers(self) -> Buffers:
        """Arrays for one batch of this rank, to pass as `into`."""
        return Buffers(self.local_rows, self.context_length)

    def batch(self, step: int, into: Buffers | None = None) -> ArrayBatch:
        """This rank's rows of batch `step` (0, 1, ...; epochs follow each other without a seam).

        The arrays belong to `into`, or to this object, which overwrites them on the next call.
        """
        into = into or self._buffers
        ids = self._order.ids(self._position(step), self.rows)[self.rank :: self.world]
        self.samples.fill(ids, into)
        if self.transform is None:
            return into.batch()
        epochs = self._order.epochs(self._position(step), self.rows)[self.rank :: self.world]
        return self.transform(into.batch(), epochs, ids)

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
    """Batches of rows made from token shards, for pre-training."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        context_length: int,
        rows: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        batching: AnyBatching | None = None,
        tail: Literal["drop", "pad"] = "drop",
        verify: Literal["none", "sampled", "full"] = "sampled",
        resume_from: LoaderState | None = None,
    ) -> None:
        """Open the shards; DataError when they are too short, ConfigError for unknown sources.

        `tail="pad"` keeps the last, shorter window too: right for validation with `in_order`.
        """
        batching = batching or CutWindows()
        self.shards = Shards.open(paths, verify=verify)
        mixture = batching.mixture
        streams: Mapping[str, Stream] = {"": self.shards}
        if mixture is not None:
            streams = by_source(self.shards, mixture.sources)
        samples: Windows | DocumentRows
        if isinstance(batching, CutWindows):
            resets = batching.reset_positions
            samples = Windows(streams, context_length, tail, reset_positions=resets)
        else:
            samples = DocumentRows(streams, context_length, pack=batching.kind == "packed")
        order: Order = SampleOrder(seed, samples.num_samples)
        if mixture is not None:
            order = MixedOrder(seed, mixture.sources, samples.starts, mixture.weights)
        sequence = LoaderState(
            corpus=self.shards.fingerprint[:DIGITS],
            tokenizer=self.shards.tokenizer_sha256[:DIGITS],
            context_length=context_length,
            batching=_described(batching, tail),
            seed=seed,
        )
        super().__init__(
            samples, order, sequence, rows=rows, rank=rank, world=world, resume_from=resume_from
        )
        self._mixed = order if isinstance(order, MixedOrder) else None
        self._mixture, self._starts = mixture, samples.starts

    def epochs(self, step: int) -> dict[str, float]:
        """How often each source was seen in the batches before `step`; "" without a mixture."""
        position = self._position(step)
        if self._mixed is None or self._mixture is None:
            return {"": position / self.num_samples}
        seen = zip(self._mixture.sources, self._mixed.samples_of(position), strict=True)
        sizes = np.diff(self._starts).tolist()
        return {name: n / size for (name, n), size in zip(seen, sizes, strict=True)}


def _described(batching: AnyBatching, tail: str) -> str:
    words: list[str] = [batching.kind]
    if isinstance(batching, CutWindows):
        words += [] if batching.reset_positions else ["running positions"]
        words += [] if tail == "drop" else ["with the tail"]
    if batching.mixture is not None:
        shares = zip(batching.mixture.sources, batching.mixture.weights, strict=True)
        words += [f"{source} {weight}" for source, weight in shares]
    return ", ".join(words)


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
        resume_from: LoaderState | None = None,
    ) -> None:
        """Open the Arrow file; `context_length` may only widen what the file was packed for."""
        packed = PackedFile(Path(path), context_length)
        sequence = LoaderState(
            corpus=packed.sha256[:DIGITS],
            tokenizer=packed.tokenizer_sha256[:DIGITS],
            context_length=packed.context_length,
            batching="rows",
            seed=seed,
        )
        order = SampleOrder(seed, packed.num_samples)
        super().__init__(
            packed, order, sequence, rows=rows, rank=rank, world=world, resume_from=resume_from
        )
