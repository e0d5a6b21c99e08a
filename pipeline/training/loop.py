"""The training loop: steps, and between them what is due by step or by clock.

    batch(step) -> gradients -> clip -> update or skip     every step, nothing read back
                            -> validate                    every `validation_every` steps
                            -> curve, journal, progress    every `log_every_seconds`
                            -> samples                     untrained, 10 s, 60 s, 10 min ... end
                            -> checkpoint                  every `checkpoint_every_seconds`, SIGTERM

Weights are a function of the job alone: batches, rates and random numbers are computed from the
step, and nothing that depends on the clock touches them. So N steps, a kill and N more are 2N.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed

from model.architectures import LanguageModel
from model.checkpoint_io import save_model
from model.lora import add_lora, merge_lora
from model.optim import build_optimizer
from pipeline.store.errors import TrainingError
from pipeline.store.runtime import Journal, Progress, Throttle
from pipeline.training.checkpoint import TrainingState, load_best, resume
from pipeline.training.data import local_batch, open_source, upcoming, validation_batches
from pipeline.training.devices import World, local_device, torch_threads
from pipeline.training.job import TrainingJob
from pipeline.training.memory import memory_in_use
from pipeline.training.outcome import explaining_failures, final_facts
from pipeline.training.records import append, rewind
from pipeline.training.sampling import END, UNTRAINED, Sampler, sample_metrics, stopped_rate
from pipeline.training.saving import Saver
from pipeline.training.start import starting_model
from pipeline.training.step import Stepper, StepResult, SummedLoss
from pipeline.training.stopping import Preempted, stop_requested, stopping_on_sigterm
from pipeline.training.tally import Tally, model_flops_utilization
from pipeline.training.validation import note_validation, validation_loss

STALL_SHARE = 0.005  # of the time at most: checkpoints of a large model space themselves out
RECENT_STEPS = 50  # final_train_loss is their mean
REPORT_SECONDS = 10.0  # between the lines people read
ALONE = World()


class Trainer:
    """One run in one process: owns the model, the state, and what is due when."""

    def __init__(
        self, job: TrainingJob, journal: Journal, progress: Progress, world: World
    ) -> None:
        self.job, self.journal, self.progress, self.world = job, journal, progress, world
        self.device = local_device(job.device, world)
        torch.manual_seed(job.seed)
        self.model: LanguageModel = starting_model(job, self.device)
        self.num_parameters = self.model.num_parameters()
        if job.lora is not None:
            add_lora(self.model, job.lora, seed=job.seed)
        self.optimizer = build_optimizer(self.model, job.optimizer)
        self.checkpoints = job.path / "checkpoints"
        self.saver = Saver(self.checkpoints, digest=job.digest, kept=job.checkpoints_kept)
        self.state = self._resumed()
        self.curve = job.path / "curve.jsonl"
        source = open_source(job, job.train_paths, rows=job.batch_rows, seed=job.seed)
        self.batches = upcoming(source, self.state.step, ahead=self.device.type == "cuda")
        self.validation = validation_batches(job, world)
        self.stepper = Stepper(
            self.model,
            self.optimizer,
            micro_rows=job.micro_batch_rows,
            grad_clip=job.grad_clip,
            device=self.device,
            world=world,
            compile_model=job.compile,
            embedding_noise=job.embedding_noise,
        )
        self.micro_rows = job.micro_batch_rows
        self.validation_module = SummedLoss(self.model)
        if world.leads:
            rewind(self.curve, step=self.state.step if self.state.resumed else -1)
            rewind(job.path / "samples.jsonl", step=self.state.step if self.state.resumed else -1)
            self.sampler = Sampler.open(job, self.model)
        self.tally = Tally.empty(self.device)
        self.started = time.monotonic() - self.state.seconds
        self.aside = 0.0
        """Seconds since the last log point that were not spent on steps."""
        self.logged_at = time.monotonic()
        self.last_save = time.monotonic()
        self.save_cost = 0.0
        self.timed_tokens, self.timed_seconds = 0, 0.0
        self.reported_skipped = self.state.skipped
        self.report = Throttle(REPORT_SECONDS)

    def run(self) -> dict[str, Any]:
        """Train to the end; the facts of the manifest. Raises Preempted after SIGTERM."""
        if not self.state.resumed:
            self._sample(UNTRAINED)
            if self.job.keep == "best":
                self._validate()
        while self.state.step < self.job.steps and not self._out_of_patience():
            self._step()
            self._whatever_is_due()
        return self._finish()

    def _resumed(self) -> TrainingState:
        def damaged(message: str) -> None:
            self.progress.event("warning", {"message": message})
            self.journal.event("checkpoint_damaged", {"message": message})

        # The leading process removes damaged checkpoints before the others look.
        if self.world.size > 1 and not self.world.leads:
            torch.distributed.barrier()
        state = resume(
            self.checkpoints,
            digest=self.job.digest,
            model=self.model,
            optimizer=self.optimizer,
            needs_best=self.job.keep == "best",
            damaged=damaged,
        )
        if self.world.size > 1 and self.world.leads:
            torch.distributed.barrier()
        if state is None:
            return TrainingState()
        state.resumed += 1
        if self.world.leads:
            self.progress.event("resumed", {"step": state.step, "of": self.job.steps})
        return state

    def _step(self) -> None:
        job, step = self.job, self.state.step
        # Random numbers of a step depend on seed, step and rank alone: resuming needs no more.
        torch.manual_seed(_mixed(job.seed, step, self.world.rank))
        self.optimizer.set_factor(job.schedule.factor(step, job.steps))
        asked = time.monotonic()
        arrays = next(self.batches)
        self.tally.data_wait += time.monotonic() - asked
        batch = local_batch(arrays, world=self.world, device=self.device)
        if batch.trained_tokens > 0:
            result = self.stepper.step(batch.local, trained_tokens=batch.trained_tokens)
            self._note_smaller_batches()
        else:
            nothing = torch.full((), math.nan, dtype=torch.float64, device=self.device)
            result = StepResult(
                nothing, nothing, torch.zeros((), dtype=torch.bool, device=self.device)
            )
        self.tally.add(result, job.tokens_per_step)
        self.state.step += 1

    def _note_smaller_batches(self) -> None:
        """Say it once when memory ran out and the step went on in smaller micro-batches."""
        if self.stepper.micro_rows != self.micro_rows:
            self.micro_rows = self.stepper.micro_rows
            facts = {"step": self.state.step, "micro_batch_rows": self.micro_rows,
                     "asked": self.job.micro_batch_rows}  # fmt: skip
            self.progress.event("warning", {"message":
                f"memory ran out at step {self.state.step}: the batch is now computed in "
                f"micro-batches of {self.micro_rows} rows instead of {self.job.micro_batch_rows}; "
                "set micro_batch_rows to begin so"})  # fmt: skip
            self.journal.event("micro_batch_halved", facts)

    def _whatever_is_due(self) -> None:
        job, step = self.job, self.state.step
        now, last = time.monotonic(), step == job.steps
        # By step, on every process: validation, and a look at skipped steps (they end the run).
        validates = step % job.validation_every == 0 or last
        if validates or len(self.tally.history) >= max(RECENT_STEPS, job.max_skipped_in_row):
            self._settle()
        if last or now - self.logged_at >= job.log_every_seconds:
            self._log()
        if validates:
            self._validate()
        if not self.world.leads:
            return
        self.saver.look()
        moment = self.sampler.due(self._seconds())
        if moment is not None:
            self._sample(moment)
        stop = stop_requested()
        if stop or (not last and now - self.last_save >= self._save_interval()):
            self._save()
        if stop:
            self.saver.wait()
            raise Preempted(
                f"stopped at step {step} of {job.steps} with a saved checkpoint; "
                "run the same command again to go on"
            )

    def _settle(self) -> None:
        """Read the losses since the last look: skipped steps, recent losses."""
        if not self.tally.history:
            return
        for loss in torch.stack(self.tally.history).tolist():
            if math.isnan(loss):
                self.state.skipped += 1
                self.state.skipped_in_row += 1
            else:
                self.state.skipped_in_row = 0
                self.state.recent_losses.append(loss)
            if self.state.skipped_in_row >= self.job.max_skipped_in_row:
                raise TrainingError(
                    f"loss or gradient was not finite (or no token was trained) for "
                    f"{self.state.skipped_in_row} steps in a row up to step {self.state.step}; "
                    "lower optimizer.learning_rate, lengthen the warm-up, or look at the data"
                )
        del self.state.recent_losses[:-RECENT_STEPS]
        self.tally.history.clear()

    def _log(self) -> None:
        self._settle()
        tally, now = self.tally, time.monotonic()
        applied = int(tally.applied)
        if not self.world.leads or not tally.steps:
            self.logged_at = now
            return
        spent = max(now - self.logged_at - self.aside, 1e-9)
        speed = tally.tokens / spent
        self.timed_tokens += tally.tokens
        self.timed_seconds += spent
        record = {
            "step": self.state.step,
            "tokens": self.state.step * self.job.tokens_per_step,
            "seconds": round(self._seconds(), 3),
            "train_loss": float(tally.loss) / applied if applied else None,
            "learning_rate": self.optimizer.learning_rate,
            "grad_norm": float(tally.grad_norm) / applied if applied else None,
            "tokens_per_second": round(speed, 1),
            "data_wait": round(tally.data_wait / spent, 5),
            "memory_gb": round(memory_in_use(self.device) / 1e9, 3),
            "mfu": model_flops_utilization(
                speed / self.world.size,
                self.job.model.flops_per_token(),
                self.device,
                self.job.dtype,
            ),
        }
        append(self.curve, [record])
        names = {"train_loss": "train/loss", "grad_norm": "train/grad_norm",
                 "learning_rate": "train/learning_rate",
                 "tokens_per_second": "train/tokens_per_second", "data_wait": "train/data_wait",
                 "memory_gb": "train/memory_gb", "mfu": "train/mfu"}  # fmt: skip
        values = {names[k]: v for k, v in record.items() if k in names and v is not None}
        self.journal.metrics(values, step=self.state.step)
        self._report(record, speed)
        self.tally = Tally.empty(self.device)
        self.logged_at, self.aside = now, 0.0

    def _report(self, record: dict[str, Any], speed: float) -> None:
        total = self.job.steps * self.job.tokens_per_step
        self.progress.advance(record["tokens"], total, "tokens")
        skipped, self.reported_skipped = (
            self.state.skipped - self.reported_skipped,
            self.state.skipped,
        )
        if skipped:
            facts = {"step": self.state.step, "skipped": skipped, "in_all": self.state.skipped}
            self.progress.event("steps_skipped", facts)
            self.journal.event("steps_skipped", facts)
        if self.report.ready():
            self.progress.event("training", {
                "step": self.state.step, "of": self.job.steps, "loss": record["train_loss"],
                "tokens_per_second": record["tokens_per_second"],
                "seconds_left": round((total - record["tokens"]) / speed, 1),
            })  # fmt: skip

    def _validate(self) -> None:
        if not self.validation:
            return
        with self._aside():
            loss = validation_loss(
                self.validation_module, self.validation, device=self.device, world=self.world
            )
            if loss is None:
                return
            best = note_validation(self.state, loss)
            if not self.world.leads:
                return
            if best and self.job.keep == "best":
                self.saver.best(self.state.step, self.model)
            tokens = self.state.step * self.job.tokens_per_step
            shown = loss if math.isfinite(loss) else None
            append(self.curve, [
                {"step": self.state.step, "tokens": tokens, "seconds": round(self._seconds(), 3),
                 "validation_loss": shown}
            ])  # fmt: skip
            self.journal.metrics({"validation/loss": loss}, step=self.state.step)

    def _sample(self, when: str) -> list[dict[str, Any]]:
        if not self.world.leads:
            return []
        with self._aside():
            records = self.sampler.write(when, step=self.state.step, seconds=self._seconds())
        for record in records:
            self.progress.event("generated", record)
        if records and self.job.answer_prompts:
            self.journal.metrics(sample_metrics(records), step=self.state.step)
        return records

    def _save(self) -> None:
        with self._aside():
            self._settle()
            self.state.seconds = self._seconds()
            self.save_cost = self.saver.checkpoint(self.state, self.model, self.optimizer)
            self.last_save = time.monotonic()

    def _finish(self) -> dict[str, Any]:
        self._log()
        self.saver.wait()
        state, kept = self.state, self.state.step
        if self.job.keep == "best" and state.best_step is not None and self.world.leads:
            load_best(self.checkpoints, step=state.best_step, model=self.model)
            kept = state.best_step
        if not self.world.leads:
            return {}
        if self.job.lora is not None:
            merge_lora(self.model)
        records = self._sample(END)
        save_model(self.model, self.job.path / "final")
        return final_facts(
            self.job,
            state,
            kept_step=kept,
            seconds=self._seconds(),
            tokens_per_second=self.timed_tokens / self.timed_seconds
            if self.timed_seconds
            else None,
            num_parameters=self.num_parameters,
            micro_batch_rows=self.micro_rows,
            stopped_rate=stopped_rate(records),
            stalled_seconds=self.saver.stalled,
            world=self.world,
        )

    def _save_interval(self) -> float:
        """Seconds between checkpoints, stretched where saving is slow; 0 saves after every step."""
        asked = self.job.checkpoint_every_seconds
        return max(asked, self.save_cost / STALL_SHARE) if asked > 0 else 0.0

    def _out_of_patience(self) -> bool:
        patience = self.job.patience
        return patience is not None and self.state.validations_since_best >= patience

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Time that is not counted against the speed of training."""
        before = time.monotonic()
        try:
            yield
        finally:
            self.aside += time.monotonic() - before


def train(
    job: TrainingJob, journal: Journal, progress: Progress, world: World = ALONE
) -> dict[str, Any]:
    """Run `job` to its end, from its newest checkpoint if it has one; the facts for its manifest.

    Raises Preempted after SIGTERM with a saved checkpoint, TrainingError when the loss stays
    non-finite or memory runs out, ArtifactError for a full disk.
    """
    with stopping_on_sigterm(), torch_threads(job.threads), explaining_failures(job):
        trainer = Trainer(job, journal, progress, world)
        try:
            return trainer.run()
        finally:
            trainer.saver.close()


def _mixed(seed: int, step: int, rank: int) -> int:
    """One 63-bit number of three; odd multipliers keep neighbours apart."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % (
        1 << 63
    )
