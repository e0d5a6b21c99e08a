"""Dropout and the best checkpoint in pre-training: exact resuming, old identities, real effect."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.averaging import WeightAverage
from model.checkpoint_io import load_model, load_tensors
from pipeline.artifacts import Checkpoint, TokenShards, TrainedTokenizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.runtime import Silent
from pipeline.training import loop
from pipeline.training.config import PretrainConfig, Steps
from pipeline.training.data import validation_batches
from pipeline.training.devices import World
from pipeline.training.job import read_job
from pipeline.training.records import read_records
from pipeline.training.step import SummedLoss
from pipeline.training.stopping import Preempted
from pipeline.training.validation import validation_loss
from tests.training.worlds import CONFIG, MODEL, RUNTIME, make_job, zen_world

World_ = tuple[TrainedTokenizer, TokenShards]
SHORT = replace(CONFIG, prompts=(), horizon=Steps(10))
# Twenty lines, hundreds of passes: learnt by heart long before the end.
BY_HEART = replace(SHORT, horizon=Steps(160), validation_every=10, batch_rows=8)


@pytest.fixture
def world(tmp_path: Path) -> World_:
    return zen_world(tmp_path)


def run(config: PretrainConfig, world: World_, root: Path) -> Checkpoint:
    tokenizer, shards = world
    return pretrain(config, shards, tokenizer, root=root, runtime=RUNTIME)


def validations(checkpoint: Checkpoint) -> dict[int, float]:
    records = read_records(checkpoint.path / "curve.jsonl")
    return {r["step"]: r["validation_loss"] for r in records if "validation_loss" in r}


@pytest.mark.parametrize("extra", [{}, {"recompute_blocks": True, "micro_batch_rows": 4}])
def test_a_stopped_run_with_dropout_ends_bit_for_bit_like_one_that_went_through(
    tmp_path: Path, world: World_, monkeypatch: pytest.MonkeyPatch, extra: dict[str, object]
) -> None:
    finals = []
    for name, stops in (("through", []), ("stopped", [4, 3])):
        (tmp_path / name).mkdir()
        changes = {"dropout": 0.2, "prompts": (), "keep": "best", **extra}
        job = read_job(make_job(tmp_path / name, *world, **changes))
        for _ in [*stops, None]:
            asked, limit = iter(range(1, 100)), stops.pop(0) if stops else 1000
            monkeypatch.setattr(loop, "stop_requested", lambda: next(asked) >= limit)  # noqa: B023
            try:
                facts = loop.train(job, Silent(), Silent())
            except Preempted:
                assert list((job.path / "checkpoints").glob("step-*"))
        finals.append((load_tensors(job.path / "final" / "model.safetensors"), facts))
    (through, one), (stopped, other) = finals
    assert other["resumed"] == 2 and one["resumed"] == 0
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in through.items())
    assert one["final_train_loss"] == other["final_train_loss"]
    assert one["best_validation_loss"] == other["best_validation_loss"]


def test_dropout_is_part_of_the_identity_only_where_it_is_asked_for(
    tmp_path: Path, world: World_
) -> None:
    plain = run(SHORT, world, tmp_path)
    assert not {"dropout", "keep"} & set(plain.manifest.config)
    noisy = run(replace(SHORT, dropout=0.2), world, tmp_path)
    assert noisy.fingerprint != plain.fingerprint
    assert noisy.facts["final_train_loss"] != plain.facts["final_train_loss"]


def test_dropout_delays_learning_by_heart_and_validates_without_noise(
    tmp_path: Path, world: World_
) -> None:
    plain = run(BY_HEART, world, tmp_path)
    noisy = run(replace(BY_HEART, dropout=0.3), world, tmp_path)
    assert noisy.facts["final_train_loss"] > plain.facts["final_train_loss"]
    assert noisy.facts["final_validation_loss"] < plain.facts["final_validation_loss"]
    tokenizer, shards = world
    changes = {"dropout": 0.9, "validation_tokens": BY_HEART.validation_tokens}
    job = read_job(make_job(tmp_path, tokenizer, shards, **changes))
    model = load_model(noisy.weights_path.parent)
    model.set_dropout(0.9)
    batches = validation_batches(job, World())
    found = validation_loss(SummedLoss(model), batches, device=torch.device("cpu"), world=World())
    assert found == pytest.approx(noisy.facts["final_validation_loss"], abs=1e-6)


def test_keep_best_gives_the_weights_of_the_turning_point(tmp_path: Path, world: World_) -> None:
    last = run(BY_HEART, world, tmp_path)
    best = run(replace(BY_HEART, keep="best"), world, tmp_path)
    curve = validations(best)
    turned = min(curve, key=lambda step: curve[step])
    assert best.facts["turning_point"] == best.facts["kept_step"] == turned < 160
    assert last.facts["kept_step"] == 160 and last.facts["turning_point"] == turned
    job = read_job(make_job(tmp_path, *world, model=MODEL))
    losses = [
        validation_loss(
            SummedLoss(load_model(made.weights_path.parent)), validation_batches(job, World()),
            device=torch.device("cpu"), world=World(),
        )
        for made in (best, last)
    ]  # fmt: skip
    assert losses == pytest.approx([curve[turned], curve[160]], abs=1e-6)
    assert losses[0] is not None and losses[1] is not None and losses[0] < losses[1]


def test_two_names_for_the_final_weights_are_refused() -> None:
    average = WeightAverage(decay=0.9)
    with pytest.raises(ValueError, match="both name the final weights"):
        replace(SHORT, keep="best", average=average)
    replace(SHORT, keep="best", average=replace(average, keep="last"))
    with pytest.raises(ValueError, match=r"dropout=1\.0 must be less than 1"):
        replace(SHORT, dropout=1.0)
