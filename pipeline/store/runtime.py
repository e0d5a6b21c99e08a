"""What a stage needs from its surroundings and what can never change its result.

`flows/` builds a Runtime from the YAML section `runtime` inside the task; the training process
builds one from its job file. Nothing in it enters a fingerprint.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from pipeline.store.dask_cluster import dask_executor
from pipeline.store.executor import process_pool, start_server


class Progress(Protocol):
    """Where a stage tells how far it is."""

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """`done` of `total` (None: unknown) `unit`s are ready; called as often as is convenient."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Something worth one line happened: `generated`, `reused`, `waiting`, `warning`..."""


class Journal(Protocol):
    """The append-only local record from which MLflow is fed; never blocks, never raises."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Record named numbers at a training step."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Record a named fact sheet."""


class Silent:
    """A Progress and a Journal that say nothing: for tests and library use."""

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Ignore."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Ignore."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Ignore."""


@dataclass(frozen=True)
class Runtime:
    """Device, workers, journal, progress and verification: place and speed, never identity."""

    device: str = "cpu"
    workers: int = 1
    compile: bool = False
    log_every_seconds: float = 1.0
    checkpoint_every_seconds: float = 30.0
    checkpoints_kept: int = 2
    milestone_steps: int | None = None
    distribution: Literal["ddp", "fsdp"] = "ddp"
    verify: Literal["auto", "full", "sampled", "sizes"] = "auto"
    lock_wait_seconds: float = 3600.0
    may_build: bool = True
    """False: reuse what is there, raise NotBuilt for anything else (`--only`, `mill plan`)."""
    executor_kind: Literal["local", "dask"] = "local"
    dask_scheduler: str | None = None
    """Address of a running cluster; None: one of local processes, for `executor_kind="dask"`."""
    preload: tuple[str, ...] = ()
    """Modules that local workers find loaded, light ones only; the first to start any decides."""
    threads: int | None = None
    """Torch intra-op threads; None leaves torch's default."""
    journal: Journal = field(default_factory=Silent)
    progress: Progress = field(default_factory=Silent)

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """A `concurrent.futures.Executor` of `workers` light processes (inline when 1 or less).

        With `executor_kind="dask"` the workers of a Dask cluster.
        """
        if self.executor_kind == "dask":
            with dask_executor(self.dask_scheduler, workers=self.workers) as pool:
                yield pool
            return
        with process_pool(self.workers, self.preload) as pool:
            yield pool

    def preloading(self, *modules: str, at_once: bool = True) -> "Runtime":
        """The same, its workers finding `modules` loaded.

        They are being loaded from now on, or with the first pool: for work that is likely done.
        """
        if at_once and self.executor_kind == "local" and self.workers > 1 and self.may_build:
            start_server(modules)
        return replace(self, preload=modules)


@dataclass
class Throttle:
    """True at most once every `seconds`: keeps progress reports from costing time."""

    seconds: float
    _last: float = float("-inf")

    def ready(self) -> bool:
        """Whether enough time has passed since the last True."""
        now = time.monotonic()
        if now - self._last < self.seconds:
            return False
        self._last = now
        return True
