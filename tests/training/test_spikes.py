"""A loss that leaps is skipped, everything else is trained, and a resumed run knows the same."""

import math
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.batch import Batch
from pipeline.stages.pretrain import pretrain
from pipeline.store.errors import TrainingError
from pipeline.store.files import sha256_file
from pipeline.training import loop
from pipeline.training.config import PretrainConfig, Steps
from pipeline.training.spikes import SMALLEST_RISE, SpikeRule, SpikeWatch
from pipeline.training.step import Stepper, StepResult
from tests.training.worlds import CONFIG, RUNTIME, zen_world

CPU = torch.device("cpu")
YES = torch.tensor(True)


def filled(losses: list[float], *, deviations: float = 6.0) -> SpikeWatch:
    watch = SpikeWatch(SpikeRule(deviations=deviations, window=len(losses)), CPU)
    for loss in losses:
        watch.note(torch.tensor(loss), YES)
    return watch


def test_limit_is_the_median_and_so_many_robust_deviations():
    draw = random.Random(0)
    losses = [draw.gauss(3.0, 0.2) for _ in range(129)]
    median = statistics.median(losses)
    deviation = 1.4826 * statistics.median(abs(loss - median) for loss in losses)
    found = float(filled(losses, deviations=4.0).limit())
    assert found == pytest.approx(median + 4.0 * deviation, abs=1e-6)


def test_nothing_is_a_spike_before_the_window_is_full():
    watch = SpikeWatch(SpikeRule(window=8), CPU)
    for _ in range(7):
        watch.note(torch.tensor(1.0), YES)
        assert math.isinf(float(watch.limit()))
    watch.note(torch.tensor(1.0), YES)
    assert float(watch.limit()) == pytest.approx(1.0 + SMALLEST_RISE)


def test_a_skipped_loss_does_not_enter_the_window():
    watch = filled([2.0] * 9)
    watch.note(torch.tensor(99.0), ~YES)
    watch.note(torch.tensor(math.nan), ~YES)
    assert watch.state() == [2.0] * 9


def test_state_goes_on_where_it_was():
    watch = filled([float(i) for i in range(12)])
    again = SpikeWatch(watch.rule, CPU, losses=watch.state())
    early = SpikeWatch(watch.rule, CPU, losses=[5.0, 6.0])
    assert torch.equal(again.losses, watch.losses)
    assert early.state() == [5.0, 6.0]
    assert math.isinf(float(early.limit()))


class Leaping(Stepper):
    """Reports a loss tenfold at the steps in `at`, and counts from 1 over all instances."""

    at: tuple[int, ...] = ()
    done = 0

    def gradients(self, batch: Batch, *, trained_tokens: float) -> torch.Tensor:
        type(self).done += 1
        loss = super().gradients(batch, trained_tokens=trained_tokens)
        return loss * 10 if type(self).done in self.at else loss


def spiky(steps: int) -> PretrainConfig:
    return replace(CONFIG, horizon=Steps(steps), spikes=SpikeRule(window=8), prompts=())


def test_spikes_are_skipped_counted_and_named(tmp_path, world, heard, monkeypatch):
    monkeypatch.setattr(loop, "Stepper", type("L", (Leaping,), {"at": (10, 13, 14)}))
    tokenizer, shards = world
    runtime = replace(RUNTIME, progress=heard)
    facts = pretrain(spiky(16), shards, tokenizer, root=tmp_path, runtime=runtime).facts
    assert (facts["skipped_steps"], facts["skipped_at"]) == (3, [10, 13, 14])
    assert [e["steps"] for e in heard.named("steps_skipped")] == [[10], [13], [14]]


def test_without_a_rule_a_leap_is_trained(tmp_path, world, monkeypatch):
    monkeypatch.setattr(loop, "Stepper", type("L", (Leaping,), {"at": (10,)}))
    tokenizer, shards = world
    config = replace(spiky(12), spikes=None)
    facts = pretrain(config, shards, tokenizer, root=tmp_path, runtime=RUNTIME).facts
    assert facts["skipped_at"] == []


def test_a_loss_that_stays_up_ends_the_run(tmp_path, world, monkeypatch):
    monkeypatch.setattr(loop, "Stepper", type("L", (Leaping,), {"at": tuple(range(10, 99))}))
    tokenizer, shards = world
    config = replace(spiky(40), max_skipped_in_row=4)
    with pytest.raises(TrainingError, match=r"a spike.*4 steps in a row up to step 13"):
        pretrain(config, shards, tokenizer, root=tmp_path, runtime=RUNTIME)


class Broken(Leaping):
    at = (10, 13)
    breaks_at = 0

    def step(self, batch: Batch, **given: Any) -> StepResult:
        if type(self).done == self.breaks_at:
            type(self).breaks_at = -1
            raise KeyboardInterrupt
        return super().step(batch, **given)


def test_a_run_broken_between_spikes_ends_like_an_unbroken_one(tmp_path, monkeypatch):
    runtime = replace(RUNTIME, checkpoint_every_seconds=0.0)

    def trained(root: Path, breaks_at: int) -> str:
        monkeypatch.setattr(loop, "Stepper", type("B", (Broken,), {"breaks_at": breaks_at}))
        tokenizer, shards = zen_world(root)
        if breaks_at > 0:
            with pytest.raises(KeyboardInterrupt):
                pretrain(spiky(16), shards, tokenizer, root=root, runtime=runtime)
        found = pretrain(spiky(16), shards, tokenizer, root=root, runtime=runtime)
        assert found.facts["skipped_at"] == [10, 13]
        assert found.facts["resumed"] == (breaks_at > 0)
        return sha256_file(found.path / "final" / "model.safetensors")

    assert trained(tmp_path / "broken", 11) == trained(tmp_path / "whole", -1)
