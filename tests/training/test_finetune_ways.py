"""Other ways to tune: low-rank adaptation, noise on the embeddings."""

import json
from dataclasses import replace

import pytest
import torch

from model.checkpoint_io import load_model, load_tensors
from model.lora import LoraConfig
from pipeline.store.errors import ConfigError
from pipeline.training.step import neftune_noise
from tests.training.test_finetune import TUNE, World

LORA = replace(TUNE, lora=LoraConfig(rank=4), keep="last")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("ways"))


def test_low_rank_tuning_learns_and_leaves_an_ordinary_checkpoint(world):
    tuned = world.tune(LORA)
    curve = [json.loads(line) for line in (tuned.path / "curve.jsonl").open()]
    losses = [r["validation_loss"] for r in curve if "validation_loss" in r]
    assert losses[-1] < losses[0] - 0.1  # its head, almost untrained, is not adapted
    base = load_tensors(world.base.weights_path)
    after = load_tensors(tuned.weights_path)
    assert set(after) == set(base)
    assert torch.equal(after["embedding.weight"], base["embedding.weight"])
    name = "blocks.0.attention.query.weight"
    assert torch.linalg.matrix_rank(after[name] - base[name], atol=1e-5) <= 4
    assert tuned.facts["num_parameters"] == load_model(tuned.weights_path.parent).num_parameters()


def test_low_rank_tuning_keeps_the_best_weights(world):
    tuned = world.tune(replace(LORA, keep="best"))
    assert tuned.facts["kept_step"] == tuned.facts["best_step"]


def test_a_rank_that_is_not_low_is_refused_before_any_work(world):
    with pytest.raises(ConfigError, match=r"finetune.lora.rank=1000 exceeds \d+"):
        world.tune(replace(TUNE, lora=LoraConfig(rank=1000)))


def test_noise_is_bounded_by_the_length_of_each_example_and_spares_padding():
    segments = torch.tensor([[1, 1, 1, 1, 2, 2, 0, 0]])
    noise = neftune_noise(segments, width=8, alpha=5.0)
    assert noise[0, :4].abs().max() <= 5 / (4 * 8) ** 0.5
    assert 5 / (4 * 8) ** 0.5 < noise[0, 4:6].abs().max() <= 5 / (2 * 8) ** 0.5
    assert (noise[0, 6:] == 0).all()


def test_noise_of_eight_tokens_of_width_eight_is_the_papers_scale():
    torch.manual_seed(0)
    noise = neftune_noise(torch.ones(1, 8, dtype=torch.int64), width=8, alpha=5.0)
    assert noise.abs().max() == pytest.approx(0.625, rel=0.05)


def test_noisy_tuning_learns_and_is_another_run(world):
    noisy, plain = world.tune(replace(TUNE, embedding_noise=5.0)), world.tune()
    assert noisy.facts["best_validation_loss"] < 2.0
    assert noisy.facts["best_validation_loss"] != plain.facts["best_validation_loss"]
    assert noisy.fingerprint != plain.fingerprint
