"""The stage `finetune`: answers are learnt, prompts are not, the best weights are kept."""

import json
from dataclasses import replace

import pytest
import torch

from model.checkpoint_io import load_model
from model.optim import AdamWConfig
from model.schedule import LinearSchedule
from pipeline.artifacts import Checkpoint, TrainedTokenizer
from pipeline.conversations.packing import write_rows
from pipeline.stages.finetune import finetune
from pipeline.stages.pretrain import pretrain
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.batches import PackedRows
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.config import Epochs, FinetuneConfig, Steps
from pipeline.training.data import to_batch
from pipeline.training.records import read_records
from pipeline.training.step import SummedLoss
from tests.training.worlds import CONFIG, RUNTIME, make_examples, zen_world

TUNE = FinetuneConfig(
    horizon=Epochs(80.0),
    batch_rows=4,
    optimizer=AdamWConfig(learning_rate=1e-2),
    schedule=LinearSchedule(warmup_fraction=0.1),
    dtype="float32",
    validation_every=10,
    sample_tokens=4,
)


class World:
    def __init__(self, root) -> None:
        self.root = root
        self.tokenizer, shards = zen_world(root)
        self.base = pretrain(CONFIG, shards, self.tokenizer, root=root, runtime=RUNTIME)
        self.examples = make_examples(root)

    def tune(self, config=TUNE, runtime=RUNTIME) -> Checkpoint:
        return finetune(
            config, self.base, self.examples, self.tokenizer, root=self.root, runtime=runtime
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("finetune"))


def test_tuned_model_answers_and_stops(world):
    tuned = world.tune()
    assert tuned.facts["best_validation_loss"] < 0.5
    assert tuned.facts["stopped_rate"] == 1.0
    samples = read_records(tuned.path / "samples.jsonl")
    untrained = [s for s in samples if s["when"] == "untrained"]
    end = [s for s in samples if s["when"] == "end"]
    assert [s["prompt"] for s in end] == ["say a", "say b", "say c", "say d"]
    assert [s["text"] for s in end] == ["aa", "bb", "cc", "dd"]
    assert not any(s["stopped"] for s in untrained)
    assert tuned.facts["examples"]["train"]["examples"] == 20
    assert {world.base.ref, world.examples.ref, world.tokenizer.ref} == set(tuned.manifest.inputs)


def test_untrained_targets_cannot_change_the_loss(world, tmp_path):
    """Prompt tokens as targets, and padding, count nothing: any ids there give the same loss."""
    vocabulary = Tokenizer.load(world.tokenizer.path)
    path = tmp_path / "rows.arrow"
    write_rows(world.examples.path / "train.jsonl", vocabulary, path, context_length=32)
    batch = to_batch(PackedRows(path, rows=4, seed=0).batch(0))
    loss = SummedLoss(load_model(world.base.path / "final"))
    corrupted = replace(batch, targets=torch.where(batch.loss_mask > 0, batch.targets, 5))
    assert not torch.equal(corrupted.targets, batch.targets)
    assert torch.equal(loss(corrupted), loss(batch))
    # every answer is two letters and eos: three trained targets per example
    examples = int(sum((row.unique() != 0).sum() for row in batch.segment_ids))
    assert float(batch.loss_mask.sum()) == 3 * examples


def test_best_validation_step_is_kept_and_patience_ends_the_run(world):
    config = replace(
        TUNE, horizon=Steps(400), patience=3, validation_every=5,
        optimizer=AdamWConfig(learning_rate=0.5),
    )  # fmt: skip
    facts = world.tune(config).facts
    assert facts["stopped_early"]
    assert facts["steps"] == facts["best_step"] + 15
    rows = facts["examples"]["train"]["rows"]
    assert facts["epochs"] == facts["steps"] * config.batch_rows / rows  # not those of the horizon
    assert facts["kept_step"] == facts["best_step"] == facts["turning_point"]


def test_keep_decides_between_best_and_last_weights(world):
    config = replace(
        TUNE, horizon=Steps(30), patience=None, optimizer=AdamWConfig(learning_rate=0.3),
        schedule=LinearSchedule(final_fraction=1.0), validation_every=1,
    )  # fmt: skip
    best, last = world.tune(config), world.tune(replace(config, keep="last"))
    assert best.facts["best_step"] == last.facts["best_step"] < 30
    assert (best.facts["kept_step"], last.facts["kept_step"]) == (best.facts["best_step"], 30)
    one, other = (load_model(c.path / "final").head_weight for c in (best, last))
    assert not torch.equal(one, other)


def test_validation_loss_counts_answers_only(world):
    """Before any step it is the base model's loss on answer and eos, computed here by hand."""
    tuned = world.tune(replace(TUNE, horizon=Steps(1)))
    first = read_records(tuned.path / "curve.jsonl")[0]
    model, vocabulary = load_model(world.base.path / "final"), Tokenizer.load(world.tokenizer.path)
    nats, count = 0.0, 0
    for line in (world.examples.path / "validation.jsonl").open():
        row = json.loads(line)
        prompt = [*vocabulary.encode(row["prompt"]), vocabulary.bos]
        answer = [*vocabulary.encode(row["answer"]), vocabulary.eos]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]]))[0].double().log_softmax(-1)
        for i, token in enumerate(answer):
            nats -= float(logits[len(prompt) - 1 + i, token])
            count += 1
    assert first["step"] == 0
    assert first["validation_loss"] == pytest.approx(nats / count, abs=1e-5)


def test_validation_that_does_not_fit_costs_the_validation_not_the_run(world, heard):
    examples = make_examples(world.root, long_validation=True)
    config = replace(TUNE, horizon=Steps(2))
    tuned = finetune(
        config, world.base, examples, world.tokenizer, root=world.root,
        runtime=replace(RUNTIME, progress=heard),
    )  # fmt: skip
    assert tuned.facts["best_step"] is None and tuned.facts["kept_step"] == 2
    assert any("last weights are kept" in str(facts) for _, facts in heard.events)
    with pytest.raises(DataError, match="tokens, a row holds"):
        finetune(
            replace(config, long_examples="error"), world.base, examples, world.tokenizer,
            root=world.root, runtime=RUNTIME,
        )  # fmt: skip


def test_context_beyond_the_base_model_is_refused(world):
    with pytest.raises(ConfigError, match=r"context_length=64 exceeds the base model's 32"):
        world.tune(replace(TUNE, context_length=64))


def test_tokenizer_of_another_model_is_refused(world, tmp_path):
    key = artifact_key("tokenizer", 1, {"another": True}, [])
    build(key, tmp_path / "t", lambda d: Outcome({}), root=tmp_path, runtime=RUNTIME)
    other = TrainedTokenizer(tmp_path / "t", key.fingerprint)
    with pytest.raises(ConfigError, match="was not trained with"):
        finetune(TUNE, world.base, world.examples, other, root=world.root, runtime=RUNTIME)
