"""Other ways to tune: low-rank adaptation, noise on the embeddings."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from model.checkpoint_io import load_model, load_tensors
from model.lora import LoraConfig
from model.qwen3 import Qwen3Config
from pipeline.conversations.example import Example, read_examples
from pipeline.evals.coverage import choose_examples
from pipeline.store.errors import ConfigError
from pipeline.training.embedding import embed
from pipeline.training.step import neftune_noise
from tests.training.test_finetune import TUNE, World
from tests.training.test_finetune_chat import stored

SMALL = {
    "vocab_size": 61,
    "context_length": 16,
    "width": 32,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
}
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


def test_the_most_diverse_examples_are_trained_and_the_map_says_which(world):
    tuned = world.tune(replace(TUNE, most_diverse=3))
    assert tuned.facts["examples"]["train"]["seen"] == 3
    found = json.loads((tuned.path / "diversity.json").read_text())
    assert found["chosen"] == 3 == sum(point[3] for point in found["map"])
    assert found["looked_at"] == found["examples"] == len(found["map"])
    assert sum(found["sizes"]) == found["looked_at"]


def test_a_chosen_example_is_repeated_as_the_weight_of_its_source_says(world, tmp_path):
    """k-centre takes a twin last, so repeated rows would lose their weight."""
    twice = [Example(id=f"t{i}", prompt=f"say {c} twice", answer=c) for i, c in enumerate("abcd")]
    once = [Example(id=f"o{i}", prompt=f"{c} {c} {c}", answer=c) for i, c in enumerate("wxyz")]
    rows = [row for one in twice for row in (one, one)] + once
    examples = stored(world.root, "weighted", rows, [])
    path, facts = choose_examples(
        examples, world.base, world.tokenizer, tmp_path, most_diverse=5, seed=0
    )
    chosen = Counter(example.id for example in read_examples(path))
    assert (facts["examples"], facts["chosen"], len(chosen)) == (8, 5, 5)
    assert all(count == (2 if id.startswith("t") else 1) for id, count in chosen.items())


def test_every_tuned_model_knows_how_diverse_its_examples_were(world):
    facts = world.tune().facts["diversity"]
    assert 1 <= facts["effective_clusters"] <= facts["clusters"]
    assert 0 < facts["largest_cluster"] <= 1


def test_an_embedding_does_not_depend_on_its_neighbours():
    model = Qwen3Config(**SMALL).build(seed=0)
    texts = [[1, 2, 3], [4] * 9, [], [5]]
    together = embed(model, texts, max_tokens=16)
    for i, text in enumerate(texts):
        assert torch.allclose(
            torch.from_numpy(together[i]),
            torch.from_numpy(embed(model, [text], max_tokens=16)[0]),
            atol=1e-5,
        )
    assert (together[2] == 0).all()
