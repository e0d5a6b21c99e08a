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
from typing import Any

import torch
import torch.distributed

from model.architectures import LanguageModel
from model.averaging import AveragedWeights
from model.checkpoint_io import save_model
from model.lora import add_lora, merge_lora
from model.optim import build_optimizer
from pipeline.store.errors import TrainingError
from pipeline.store.runtime import Journal, Progress
from pipeline.training.checkpoint import SKIPPED_NAMED, TrainingState, load_best, resume
from pipeline.training.data import local_batch, open_source, upcoming, validation_batches
from pipeline.training.devices import World, local_device, torch_threads
from pipeline.training.job import TrainingJob
from pipeline.training.logbook import Logbook
from pipeline.training.outcome import explaining_failures, final_facts
from pipeline.training.parallel import Due, parallel
from pipeline.training.records import rewind
from pipeline.training.sampling import END, UNTRAINED, Sampler, sample_metrics, stopped_rate
from pipeline.training.saving import Saver
from pipeline.training.spikes import SpikeWatch
from pipeline.training.start import starting_model
from pipeline.training.step import Stepper, StepResult, SummedLoss
from pipeline.training.stopping import Preempted, stop_requested, stopping_on_sigterm
from pipeline.training.validation import note_validation, validation_loss

STALL_SHARE = 0.005  # of the time at most: checkpoints of a large model space themselves out
RECENT_STEPS = 50  # final_train_loss is their mean
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
        self.model.recompute = job.recompute_blocks
        self.model.set_dropout(job.dropout)
        loss = SummedLoss(self.model, embedding_noise=job.embedding_noise, z_loss=job.z_loss)
        self.parallel = parallel(
            job.distribution, world=world, device=self.device, batch_rows=job.batch_rows
        )
        self.parallel.place(loss, self.model.all_blocks)
        self.optimizer = build_optimizer(self.model, job.optimizer)
        if job.average is not None:
            self.optimizer.average = AveragedWeights(self.model, job.average.decay)
        self.checkpoints = job.path / "checkpoints"
        self.saver = Saver(
            self.checkpoints,
            digest=job.digest,
            kept=job.checkpoints_kept,
            milestone_steps=job.milestone_steps,
        )
        self.state = self._resumed()
        self.spikes = None
        if job.spikes is not None:
            window = self.state.spike_window
            self.spikes = SpikeWatch(job.spikes, self.device, losses=window)
        source = open_source(job, job.train_paths, rows=job.batch_rows, seed=job.seed)
        self.batches = upcoming(source, self.state.step, ahead=self.device.type == "cuda")
        self.validation = validation_batches(job, world)
        self.stepper = Stepper(
            loss,
            self.optimizer,
            micro_rows=job.micro_batch_rows,
            grad_clip=job.grad_clip,
            device=self.device,
            parallel=self.parallel,
            compile_model=job.compile,
        )
        self.validation_module = loss
        if world.leads:
            rewind(job.path / "samples.jsonl", step=self.state.step if self.state.resumed else -1)
            self.sampler = Sampler.open(job, self.model)
        self.log = Logbook(job, journal, progress, world, device=self.device, state=self.state)
        self.last_save = time.monotonic()
        self.save_cost = 0.0

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
        self.log.tally.data_wait += time.monotonic() - asked
        batch = local_batch(arrays, world=self.world, device=self.device)
        if batch.trained_tokens > 0:
            result = self.stepper.step(
                batch.local,
                trained_tokens=batch.trained_tokens,
                limit=None if self.spikes is None else self.spikes.limit(),
            )
            if self.spikes is not None:
                self.spikes.note(result.loss, result.applied)
            if self.optimizer.average is not None:
                self.optimizer.average.update(step, result.applied)
            self.log.smaller_batches(self.stepper.micro_rows)
        else:
            nothing = torch.full((), math.nan, dtype=torch.float64, device=self.device)
            result = StepResult(
                nothing, nothing, torch.zeros((), dtype=torch.bool, device=self.device)
            )
        self.log.tally.add(result, job.tokens_per_step)
        self.state.step += 1

    def _whatever_is_due(self) -> None:
        job, step = self.job, self.state.step
        now, last = time.monotonic(), step == job.steps
        # By step, on every process: validation, and a look at skipped steps (they end the run).
        validates = step % job.validation_every == 0 or last
        if validates or len(self.log.tally.history) >= max(RECENT_STEPS, job.max_skipped_in_row):
            self._settle()
        if last or now - self.log.logged_at >= job.log_every_seconds:
            self._log()
        if validates:
            self._validate()
        due = self.parallel.agree(lambda: self._due(now, last))
        if due.sample:
            self._sample(self.sampler.due(self.log.seconds) if self.world.leads else None)
        if due.save:
            self._save()
        if due.stop:
            self.saver.wait()
            raise Preempted(
                f"stopped at step {step} of {job.steps} with a saved checkpoint; "
                "run the same command again to go on"
            )

    def _due(self, now: float, last: bool) -> Due:
        """On the leading process: what its clock and signals ask for."""
        self.saver.look()
        stop = stop_requested()
        every, step = self.job.milestone_steps, self.state.step
        due = now - self.last_save >= self._save_interval() or (every and step % every == 0)
        save = stop or (not last and bool(due))
        return Due(self.sampler.due(self.log.seconds) is not None, save, stop)

    def _settle(self) -> None:
        """Read the losses since the last look: skipped steps, recent losses."""
        if not self.log.tally.history:
            return
        first = self.state.step - len(self.log.tally.history) + 1
        for step, loss in enumerate(torch.stack(self.log.tally.history).tolist(), first):
            if math.isnan(loss):
                self.state.skipped += 1
                self.state.skipped_at.append(step)
                self.state.skipped_in_row += 1
            else:
                self.state.skipped_in_row = 0
                self.state.recent_losses.append(loss)
            if self.state.skipped_in_row >= self.job.max_skipped_in_row:
                raise TrainingError(
                    f"loss or gradient was not finite, or a spike, or no token was trained, for "
                    f"{self.state.skipped_in_row} steps in a row up to step {step}; "
                    "lower optimizer.learning_rate, lengthen the warm-up, or look at the data"
                )
        del self.state.recent_losses[:-RECENT_STEPS]
        del self.state.skipped_at[:-SKIPPED_NAMED]
        self.log.tally.history.clear()

    def _log(self) -> None:
        self._settle()
        self.log.point(learning_rate=self.optimizer.learning_rate)

    def _validate(self) -> None:
        if not self.validation:
            return
        with self.log.pause():
            loss = validation_loss(
                self.validation_module, self.validation, device=self.device, world=self.world
            )
            if loss is None:
                return
            best = note_validation(self.state, loss)
            if best and self.job.keep == "best":
                weights = self.parallel.gathered(self.model.state_dict())
                if weights is not None:
                    self.saver.best(self.state.step, weights)
            averaged = None
            if self.optimizer.average is not None:
                self.parallel.changed(self.validation_module)
                with self.optimizer.average.as_weights():
                    averaged = validation_loss(
                        self.validation_module, self.validation,
                        device=self.device, world=self.world,
                    )  # fmt: skip
                self.parallel.changed(self.validation_module)
            if self.world.leads:
                self.log.validation(loss, of_average=averaged)

    def _sample(self, when: str | None) -> list[dict[str, Any]]:
        """Write samples on the leading process; all must call it. `when` None: nothing is due."""
        if not self.job.prompts:
            return []
        with self.log.pause(), self.parallel.whole(self.model, self._another) as model:
            return [] if model is None or when is None else self._write_samples(model, when)

    def _write_samples(self, model: LanguageModel, when: str) -> list[dict[str, Any]]:
        self.sampler.model = model
        records = self.sampler.write(when, step=self.state.step, seconds=self.log.seconds)
        for record in records:
            self.progress.event("generated", record)
        if records and self.job.answer_prompts:
            self.journal.metrics(sample_metrics(records), step=self.state.step)
        return records

    def _another(self) -> LanguageModel:
        """A model of the same parts, weights yet to be loaded."""
        model: LanguageModel = self.job.model.build_empty(
            device=self.device, compute_dtype=self.job.dtype
        )
        if self.job.lora is not None:
            add_lora(model, self.job.lora, seed=self.job.seed)
        return model

    def _save(self) -> None:
        with self.log.pause():
            self._settle()
            self.state.seconds = self.log.seconds
            if self.spikes is not None:
                self.state.spike_window = self.spikes.state()
            weights = self.parallel.gathered(self.model.state_dict())
            moments = self.parallel.gathered(self.optimizer.state_tensors())
            if weights is not None and moments is not None:
                self.save_cost = self.saver.checkpoint(self.state, weights, moments)
            self.last_save = time.monotonic()

    def _finish(self) -> dict[str, Any]:
        self._log()
        self.saver.wait()
        state, kept = self.state, self.state.step
        if self.optimizer.average is not None and self.job.average is not None:
            if self.job.average.keep == "average":
                self.optimizer.average.exchange()
        with self.parallel.whole(self.model, self._another) as model:
            if model is None:
                return {}
            if self.job.keep == "best" and state.best_step is not None:
                load_best(self.checkpoints, step=state.best_step, model=model)
                kept = state.best_step
            if self.job.lora is not None:
                merge_lora(model)
            records = self._write_samples(model, END)
            save_model(model, self.job.path / "final")
        return final_facts(
            self.job,
            state,
            kept_step=kept,
            seconds=self.log.seconds,
            tokens_per_second=self.log.tokens_per_second,
            num_parameters=self.num_parameters,
            micro_batch_rows=self.stepper.micro_rows,
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
