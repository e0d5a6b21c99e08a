"""The record of a run: its clock, the curve on disk, the journal, and the lines people read."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.store.runtime import Journal, Progress, Throttle
from pipeline.training.checkpoint import TrainingState
from pipeline.training.devices import World
from pipeline.training.job import TrainingJob
from pipeline.training.memory import memory_in_use
from pipeline.training.records import append, rewind
from pipeline.training.tally import Tally, model_flops_utilization

REPORT_SECONDS = 10.0  # between the lines people read
# MLflow draws one section per prefix, in the order of the alphabet: the loss stands in its first
# row, what the machine does below it.
_JOURNAL = {
    "train_loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "tokens_per_second": "utilization/tokens_per_second",
    "data_wait": "utilization/data_wait",
    "memory_gb": "utilization/memory_gb",
    "mfu": "utilization/mfu",
}


class Logbook:
    """Writes `curve.jsonl` on the leading process; times steps, and nothing but steps."""

    def __init__(
        self, job: TrainingJob, journal: Journal, progress: Progress, world: World,
        *, device: torch.device, state: TrainingState,
    ) -> None:  # fmt: skip
        self.job, self.journal, self.progress, self.world = job, journal, progress, world
        self.device, self.state = device, state
        self.curve = job.path / "curve.jsonl"
        if world.leads:
            rewind(self.curve, step=state.step if state.resumed else -1)
        self.tally = Tally.empty(device)
        self.started = time.monotonic() - state.seconds
        self.logged_at = time.monotonic()
        self.aside = 0.0
        """Seconds since the last log point that were not spent on steps."""
        self.timed_tokens, self.timed_seconds = 0, 0.0
        self.reported_skipped = state.skipped
        self.micro_rows = job.micro_batch_rows
        self.report = Throttle(REPORT_SECONDS)

    @property
    def seconds(self) -> float:
        """Since the run began, over all its resumptions."""
        return time.monotonic() - self.started

    @property
    def tokens_per_second(self) -> float | None:
        """Over all steps of this process's life; None before the first log point."""
        return self.timed_tokens / self.timed_seconds if self.timed_seconds else None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time that is not counted against the speed of training."""
        before = time.monotonic()
        try:
            yield
        finally:
            self.aside += time.monotonic() - before

    def point(self, *, learning_rate: float) -> None:
        """Read the sums since the last point (this waits for the device) and write them down."""
        tally, now = self.tally, time.monotonic()
        applied = int(tally.applied)
        if not self.world.leads or not tally.steps:
            self.logged_at = now
            return
        spent = max(now - self.logged_at - self.aside, 1e-9)
        speed = tally.tokens / spent
        self.timed_tokens += tally.tokens
        self.timed_seconds += spent
        record: dict[str, Any] = {
            "step": self.state.step,
            "tokens": self.state.step * self.job.tokens_per_step,
            "seconds": round(self.seconds, 3),
            "train_loss": float(tally.loss) / applied if applied else None,
            "learning_rate": learning_rate,
            "grad_norm": float(tally.grad_norm) / applied if applied else None,
            "tokens_per_second": round(speed, 1),
            "data_wait": round(tally.data_wait / spent, 5),
            "memory_gb": round(memory_in_use(self.device) / 1e9, 3),
            "mfu": model_flops_utilization(
                speed / self.world.size,
                self.job.flops_per_token,
                self.device,
                self.job.dtype,
            ),
        }
        append(self.curve, [record])
        values = {name: record[key] for key, name in _JOURNAL.items() if record[key] is not None}
        self.journal.metrics(values, step=self.state.step)
        self._report(record, speed)
        self.tally = Tally.empty(self.device)
        self.logged_at, self.aside = now, 0.0

    def validation(self, loss: float, *, of_average: float | None = None) -> None:
        """One validation, on the leading process; `of_average` is that of the averaged weights."""
        record = {
            "step": self.state.step, "tokens": self.state.step * self.job.tokens_per_step,
            "seconds": round(self.seconds, 3),
            "validation_loss": loss if math.isfinite(loss) else None,
        }  # fmt: skip
        metrics = {"validation/loss": loss}
        if of_average is not None:
            record["average_validation_loss"] = of_average if math.isfinite(of_average) else None
            metrics["validation/loss_of_average"] = of_average
        append(self.curve, [record])
        self.journal.metrics(metrics, step=self.state.step)

    def smaller_batches(self, micro_rows: int) -> None:
        """Say it once when memory ran out and the step went on in smaller micro-batches."""
        if micro_rows == self.micro_rows:
            return
        self.micro_rows, asked = micro_rows, self.job.micro_batch_rows
        message = (
            f"memory ran out at step {self.state.step}: the batch is now computed in micro-batches "
            f"of {micro_rows} rows instead of {asked}; set micro_batch_rows to begin so"
        )
        self.progress.event("warning", {"message": message})
        facts = {"step": self.state.step, "micro_batch_rows": micro_rows, "asked": asked}
        self.journal.event("micro_batch_halved", facts)

    def _report(self, record: dict[str, Any], speed: float) -> None:
        total = self.job.steps * self.job.tokens_per_step
        self.progress.advance(record["tokens"], total, "tokens")
        skipped = self.state.skipped - self.reported_skipped
        self.reported_skipped = self.state.skipped
        if skipped:
            facts: dict[str, Any] = {
                "step": self.state.step, "skipped": skipped, "in_all": self.state.skipped,
                "steps": self.state.skipped_at[-skipped:],  # seed and step name the batch
            }  # fmt: skip
            self.progress.event("steps_skipped", facts)
            self.journal.event("steps_skipped", facts)
        if self.report.ready():
            self.progress.event("training", {
                "step": self.state.step, "of": self.job.steps, "loss": record["train_loss"],
                "tokens_per_second": record["tokens_per_second"],
                "seconds_left": round((total - record["tokens"]) / speed, 1),
            })  # fmt: skip
