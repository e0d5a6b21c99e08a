"""From prepared token files to tensors: the global batch of a step, and the fixed validation rows.

Every process assembles the global batch and takes its own rows: the number of trained tokens is
then known everywhere without talking, and the order does not depend on the number of processes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from model.batch import Batch, Source
from model.objectives.spans import trimmed
from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.batches import Batches, PackedRows, WindowBatches
from pipeline.tokens.batching import for_validation
from pipeline.tokens.labelled import LabelledRows
from pipeline.tokens.prefetch import Prefetched
from pipeline.training.devices import World
from pipeline.training.job import TrainingJob
from pipeline.training.objective import apply_objective

Arrays = Mapping[str, np.ndarray]


def open_source(
    job: TrainingJob,
    paths: tuple[str, ...],
    *,
    rows: int,
    seed: int,
    tail: Literal["drop", "pad"] = "drop",
) -> Batches:
    """The batches of `paths`, `rows` at a time; DataError when there is not one row."""
    files = [Path(path) for path in paths]
    if job.data == "windows":
        batching = job.batching if tail == "drop" else for_validation(job.batching)
        windows = WindowBatches(
            files,
            context_length=job.context_length,
            rows=rows,
            seed=seed,
            batching=batching,
            tail=tail,
        )
        return apply_objective(job, windows, seed=seed)
    if len(files) != 1:
        raise DataError(f"prepared rows come in one file, found {len(files)}; run the stage again")
    if job.data == "labels":
        return LabelledRows(files[0], context_length=job.context_length, rows=rows, seed=seed)
    packed = PackedRows(files[0], context_length=job.context_length, rows=rows, seed=seed)
    return apply_objective(job, packed, seed=seed)


def upcoming(source: Batches, step: int, *, ahead: bool) -> Iterator[Arrays]:
    """The global batches `step`, `step + 1`, ...; `ahead` makes them in a thread beside the device.

    A batch is valid until the next one is asked for; batches made but not taken are no state.
    """
    if ahead:
        with Prefetched(source, start=step) as batches:
            yield from batches
    while True:
        yield source.batch(step)
        step += 1


@dataclass(frozen=True)
class GlobalBatch:
    """This process's rows, and the trained tokens of all rows."""

    local: Batch
    trained_tokens: float


def local_batch(arrays: Arrays, *, world: World, device: torch.device) -> GlobalBatch:
    """This process's rows of the global batch, on its device; ConfigError if it gets none."""
    rows = len(arrays["inputs"])
    if rows < world.size:  # a process without rows would leave the others waiting for gradients
        raise ConfigError(
            f"batch_rows={rows} gives {world.size} processes less than a row each; raise it to at "
            f"least {world.size}, or use fewer devices"
        )
    mine = slice(rows * world.rank // world.size, rows * (world.rank + 1) // world.size)
    trained = float(arrays["loss_mask"].sum(dtype=np.float64))
    batch = to_batch({name: values[mine] for name, values in arrays.items()})
    if device.type == "cuda":
        # Through page-locked memory that torch keeps and reuses: the copy runs beside the device's
        # work, and the loader's own arrays are free again at once.
        return GlobalBatch(_page_locked(batch).to(device, non_blocking=True), trained)
    return GlobalBatch(batch, trained)


def _page_locked(batch: Batch) -> Batch:
    source = batch.source
    if source is not None:
        source = Source(source.inputs.pin_memory(), source.segment_ids.pin_memory())
    return Batch(
        batch.inputs.pin_memory(),
        batch.targets.pin_memory(),
        batch.loss_mask.pin_memory(),
        batch.segment_ids.pin_memory(),
        batch.positions.pin_memory(),
        source,
        predicted=None if batch.predicted is None else batch.predicted.pin_memory(),
    )


def to_batch(arrays: Arrays) -> Batch:
    """numpy to torch, without a copy where the types allow it; the encoder's side with it."""
    encodes = "source_inputs" in arrays
    if encodes:
        arrays = trimmed(arrays)

    def ids(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.int64))

    mask = torch.from_numpy(np.ascontiguousarray(arrays["loss_mask"], dtype=np.float32))
    predicted = ids("predicted") if "predicted" in arrays else None
    source = Source(ids("source_inputs"), ids("source_segments")) if encodes else None
    return Batch(
        ids("inputs"), ids("targets"), mask, ids("segment_ids"), ids("positions"), source, predicted
    )


def validation_batches(job: TrainingJob, world: World) -> list[Batch]:
    """The fixed validation sample: the same rows for every run of this data, each exactly once.

    At most `validation_tokens` positions, in micro-batches, this process's share of them.
    """
    if not job.validation_paths:
        return []
    source = open_source(job, job.validation_paths, rows=1, seed=0, tail="pad")
    num_rows = min(source.num_samples, math.ceil(job.validation_tokens / job.context_length))
    # Every process makes the same number of passes: a row beyond the last one trains nothing.
    mine = range(world.rank, math.ceil(num_rows / world.size) * world.size, world.size)
    rows = [_validation_row(source, row, num_rows) for row in mine]
    return [to_batch(joined) for joined in _joined(rows, job.micro_batch_rows)]


def _validation_row(source: Batches, row: int, num_rows: int) -> Arrays:
    """A copy of a row (the source reuses its arrays), with nothing to predict beyond the last."""
    arrays = {name: values.copy() for name, values in source.batch(row % num_rows).items()}
    if row >= num_rows:
        arrays["loss_mask"][:] = 0.0
    return arrays


def _joined(rows: Sequence[Arrays], size: int) -> Iterator[Arrays]:
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield {name: np.concatenate([row[name] for row in part]) for name in part[0]}
