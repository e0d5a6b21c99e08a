"""Saving beside the training: the loop waits for a copy in memory, never for the disk.

    loop  --copy-->  snapshot  --one thread-->  step-N.tmp, hashes, fsync, rename, purge the oldest

At most one save is under way: the next one waits for it, so host memory holds one snapshot
(weights and moments, in the size they have on the device). What a save failed with is raised in the
loop, at the next look. CheckFreq (Mohan et al. 2021) calls the two halves snapshot and persist.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.training.checkpoint import Snapshot, TrainingState, write_best, write_checkpoint

_NICENESS = 10  # of the writing thread: on a CPU it gives way to the training threads


class Saver:
    """Takes snapshots for the loop and writes them in a thread of its own."""

    def __init__(
        self, checkpoints: Path, *, digest: str, kept: int, milestone_steps: int | None = None
    ) -> None:
        self.checkpoints, self.digest, self.kept = checkpoints, digest, kept
        self.milestone_steps = milestone_steps
        self.pool = ThreadPoolExecutor(1, "checkpoint", initializer=_give_way)
        self.pending: list[Future[Path]] = []
        self.stalled = 0.0
        """Seconds the loop stood still for saving."""

    def checkpoint(
        self, state: TrainingState, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]
    ) -> float:
        """Snapshot the run and begin to write `step-N`; the seconds this took from the loop.

        Raises what the save before it failed with: ArtifactError on a full disk.
        """
        before = time.monotonic()
        self.wait()
        snapshot = Snapshot(
            replace(
                state,
                recent_losses=list(state.recent_losses),
                skipped_at=list(state.skipped_at),
                spike_window=list(state.spike_window),
            ),
            _copied(weights),
            _copied(moments),
        )
        self._begin(lambda: self._write(snapshot))
        return self._stopped(before)

    def best(self, step: int, weights: Mapping[str, Tensor]) -> float:
        """Snapshot the weights and begin to write `best-N`, ahead of the checkpoint that needs it.

        Checkpoints are written in the order they were taken.
        """
        before = time.monotonic()
        self.wait()
        copy = _copied(weights)
        self._begin(lambda: write_best(self.checkpoints, step=step, weights=copy))
        return self._stopped(before)

    def look(self) -> None:
        """Raise what a finished save failed with; never waits."""
        while self.pending and self.pending[0].done():
            self.pending.pop(0).result()

    def wait(self) -> None:
        """Until everything is on disk; raises what a save failed with."""
        while self.pending:
            self.pending.pop(0).result()

    def close(self) -> None:
        """Let the save under way finish, whatever becomes of it."""
        self.pool.shutdown(wait=True)

    def _write(self, snapshot: Snapshot) -> Path:
        return write_checkpoint(
            self.checkpoints,
            digest=self.digest,
            snapshot=snapshot,
            kept=self.kept,
            milestone_steps=self.milestone_steps,
        )

    def _begin(self, write: Callable[[], Path]) -> None:
        self.pending.append(self.pool.submit(write))

    def _stopped(self, before: float) -> float:
        spent = time.monotonic() - before
        self.stalled += spent
        return spent


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors' values of now, in host memory.

    From a GPU through page-locked memory, all copies queued before the one wait for them.
    """
    copies, on_device = {}, False
    for name, tensor in tensors.items():
        source = tensor.detach()
        copy = torch.empty_like(
            source, device="cpu", pin_memory=source.is_cuda, memory_format=torch.contiguous_format
        )
        copies[name] = copy.copy_(source, non_blocking=True)
        on_device = on_device or source.is_cuda
    if on_device:
        torch.cuda.current_stream().synchronize()
    return copies


def _give_way() -> None:
    """Linux keeps a niceness per thread; elsewhere, or where it is refused, nothing changes."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    except (AttributeError, OSError):
        return
