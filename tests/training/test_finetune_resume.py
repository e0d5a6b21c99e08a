"""A tuning that breaks off in any step and goes on ends in the same weights, whatever it does."""

from dataclasses import replace

import pytest

from model.lora import LoraConfig
from pipeline.stages.finetune import finetune
from pipeline.store.files import sha256_file
from pipeline.training.config import Steps
from pipeline.training.loop import Trainer
from tests.training.test_finetune import TUNE, World
from tests.training.worlds import RUNTIME, zen_world

SHORT = replace(TUNE, horizon=Steps(12), validation_every=3)
WAYS = {
    "low rank, replay, noise, the most diverse": replace(
        SHORT, lora=LoraConfig(rank=2), replay=0.2, embedding_noise=5.0, most_diverse=9
    ),
    "noise in micro-batches without packing": replace(
        SHORT, embedding_noise=5.0, micro_batch_rows=2, packing=False
    ),
    "the last weights": replace(SHORT, keep="last", patience=2),
}


class Broken(BaseException):
    """Comes as a kill does: nothing may catch it."""


def tune(world: World, config):
    _, shards = zen_world(world.root)
    runtime = replace(RUNTIME, checkpoint_every_seconds=0.0)
    return finetune(
        config, world.base, world.examples, world.tokenizer, shards,
        root=world.root, runtime=runtime,
    )  # fmt: skip


def facts(tuned) -> dict:
    told = ("kept_step", "best_step", "best_validation_loss", "stopped_rate", "examples")
    return {"weights": sha256_file(tuned.weights_path)} | {k: tuned.facts[k] for k in told}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_those_of_an_unbroken_run(whole, tmp_path, monkeypatch, way):
    config, world = WAYS[way], World(tmp_path)
    step, breaks = Trainer._step, {1, 7}

    def breaking(self: Trainer) -> None:
        if self.state.step in breaks:
            breaks.remove(self.state.step)
            raise Broken
        step(self)

    monkeypatch.setattr(Trainer, "_step", breaking)
    for _ in range(2):
        with pytest.raises(Broken):
            tune(world, config)
    assert not breaks
    resumed = tune(world, config)
    assert resumed.facts["resumed"] == 2
    assert facts(resumed) == facts(tune(whole, config))
