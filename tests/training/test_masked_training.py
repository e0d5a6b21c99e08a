"""Masked LM through the same stage and loop: it learns, resumes bit for bit, refuses misfits."""

import json
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from model.architectures import BertConfig
from model.averaging import WeightAverage
from model.checkpoint_io import load_model, load_tensors, save_tensors
from model.huggingface import export_weights
from model.objectives import CausalLM, MaskedLM
from model.optim import AdamWConfig
from model.schedule import CosineSchedule
from pipeline.artifacts import Checkpoint, TokenShards, TrainedTokenizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.errors import ConfigError
from pipeline.store.runtime import Silent
from pipeline.tokens.tokenizer import MASK, Tokenizer, with_our_specials
from pipeline.training import loop
from pipeline.training.config import FromCheckpoint, HuggingFace, Steps
from pipeline.training.data import local_batch, open_source, validation_batches
from pipeline.training.devices import World
from pipeline.training.filling import fill_masks, filled, masked_ids
from pipeline.training.job import TrainingJob, read_job
from pipeline.training.launch import spawn
from pipeline.training.records import read_records
from pipeline.training.start import resolve_start
from pipeline.training.stopping import Preempted
from tests.training.worlds import (
    CONFIG,
    PATTERN,
    RUNTIME,
    make_job,
    make_shards,
    make_tokenizer,
)
from tests.training.worlds import SHAPE as QWEN3

World_ = tuple[TrainedTokenizer, TokenShards]
SHAPE = BertConfig(width=32, layers=2, heads=2, hidden_width=64)
BERT = replace(CONFIG, model=SHAPE, prompts=(f"Beautiful is {MASK}etter",))
SMALL = replace(SHAPE, vocab_size=264, context_length=32)


def byte_tokenizer(root: Path, *more: str, mask: bool = True) -> TrainedTokenizer:
    return make_tokenizer(root, *more, mask=mask)


def text_world(root: Path, tokenizer: TrainedTokenizer) -> World_:
    texts = [topics[name] for name in sorted(topics)[:12]]
    return tokenizer, make_shards(root, tokenizer, texts[2:], texts[:2])


@pytest.fixture
def masked_world(tmp_path: Path) -> World_:
    return text_world(tmp_path, byte_tokenizer(tmp_path))


def run(config: object, world: World_, root: Path) -> Checkpoint:
    tokenizer, shards = world
    return pretrain(config, shards, tokenizer, root=root, runtime=RUNTIME)  # type: ignore[arg-type]


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return load_tensors(checkpoint.weights_path)


def test_an_encoder_learns_and_shows_what_it_fills_in(tmp_path: Path, masked_world: World_) -> None:
    config = replace(
        BERT, horizon=Steps(60), context_length=64, batch_rows=8,
        optimizer=AdamWConfig(learning_rate=1e-2),
    )  # fmt: skip
    made = run(config, masked_world, tmp_path)
    losses = [r["validation_loss"] for r in read_records(made.path / "curve.jsonl")
              if "validation_loss" in r]  # fmt: skip
    assert losses[-1] < 3.5
    assert losses[-1] < losses[0] - 0.5
    assert made.manifest.config["objective"]["kind"] == "masked"
    samples = read_records(made.path / "samples.jsonl")
    assert [record["when"] for record in samples] == ["untrained", "end"]
    assert samples[1]["text"].startswith("Beautiful is[") and len(samples[1]["candidates"][0]) == 5
    whole = SHAPE.flops_per_token()
    assert made.facts["flops_per_token"] < whole + 12 * 2 * 32 * 64  # the head sees 15 % of it


def test_validation_masks_are_the_same_for_every_training_seed(
    tmp_path: Path, masked_world: World_
) -> None:
    job = read_job(make_job(tmp_path, *masked_world, model=SMALL, objective=MaskedLM()))
    first, second = (validation_batches(replace(job, seed=seed), World()) for seed in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.loss_mask, other.loss_mask)
    assert sum(batch.loss_mask.sum().item() for batch in first) > 10


def test_what_is_masked_depends_neither_on_the_layout_nor_on_where_a_run_begins(
    tmp_path: Path, masked_world: World_
) -> None:
    job = read_job(make_job(tmp_path, *masked_world, model=SMALL, objective=MaskedLM()))

    def rows(batch_rows: int, start: int, count: int) -> list[tuple[list[int], list[float]]]:
        source = open_source(job, job.train_paths, rows=batch_rows, seed=job.seed)
        found = []
        for step in range(start, start + count):
            batch = local_batch(source.batch(step), world=World(), device=torch.device("cpu")).local
            found += list(zip(batch.inputs.tolist(), batch.loss_mask.tolist(), strict=True))
        return found

    epoch = open_source(job, job.train_paths, rows=1, seed=0).num_samples
    count = epoch // 4 * 2 + 2  # past the seam of the first epoch
    whole = rows(4, 0, count)
    assert rows(8, 0, count // 2) == whole
    assert rows(4, count - 3, 3) == whole[-12:]
    halves = [
        local_batch(
            open_source(job, job.train_paths, rows=4, seed=0).batch(0),
            world=World(rank=rank, size=2), device=torch.device("cpu"),
        ).local.inputs.tolist()
        for rank in (0, 1)
    ]  # fmt: skip
    assert halves[0] + halves[1] == [inputs for inputs, _ in whole[:4]]


EXTRAS: dict[str, Any] = {
    "average": WeightAverage(decay=0.9), "z_loss": 1e-3, "recompute_blocks": True,
    "objective": MaskedLM(), "model": SMALL, "steps": 12, "prompts": (),
}  # fmt: skip


def test_with_every_extra_a_stopped_run_ends_bit_for_bit_like_one_that_went_through(
    tmp_path: Path, masked_world: World_, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = []
    for name, stops in (("through", []), ("stopped", [5, 3])):
        (tmp_path / name).mkdir()
        path = make_job(tmp_path / name, *masked_world, **EXTRAS)
        for _ in [*stops, None]:
            job = read_job(path)
            asked = iter(range(1, 100))
            limit = stops.pop(0) if stops else 1000
            monkeypatch.setattr(loop, "stop_requested", lambda: next(asked) >= limit)  # noqa: B023
            try:
                facts = loop.train(job, Silent(), Silent())
            except Preempted:
                assert list((job.path / "checkpoints").glob("step-*"))
        finals.append((load_tensors(job.path / "final" / "model.safetensors"), facts))
    (through, one), (stopped, other) = finals
    assert one["steps"] == other["steps"] == 12 and other["resumed"] == 2
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in through.items())
    assert one["average_validation_loss"] == other["average_validation_loss"]


def run_job(tmp_path: Path, name: str, world: World_, **changes: object) -> TrainingJob:
    (tmp_path / name).mkdir()
    path = make_job(tmp_path / name, *world, **{**EXTRAS, **changes})
    loop.train(read_job(path), Silent(), Silent())
    return read_job(path)


def test_average_is_the_sum_its_definition_says(tmp_path: Path, masked_world: World_) -> None:
    """Rerun with 0, 1, ... steps: the weights after each; average them by hand."""
    plain = {"average": None, "optimizer": AdamWConfig(learning_rate=1e-3)}
    steps = 4

    flat = CosineSchedule(warmup_fraction=0.0, final_fraction=1.0)
    after = []
    for count in range(1, steps + 1):
        job = run_job(tmp_path, f"plain-{count}", masked_world, steps=count, schedule=flat, **plain)
        after.append(load_tensors(job.path / "final" / "model.safetensors"))
    start = SMALL.build(seed=0).state_dict()
    expected = {name: tensor.double() for name, tensor in start.items()}
    for t, now in enumerate(after):
        share = 1 - min(0.9, (1 + t) / (10 + t))
        for name in expected:
            expected[name] += share * (now[name].double() - expected[name])
    averaged = run_job(tmp_path, "average", masked_world, steps=steps, schedule=flat,
                       optimizer=plain["optimizer"], average=WeightAverage(decay=0.9))  # fmt: skip
    found = load_tensors(averaged.path / "final" / "model.safetensors")
    for name, tensor in found.items():
        assert torch.allclose(tensor.double(), expected[name], atol=1e-6), name
    last = run_job(tmp_path, "last", masked_world, steps=steps, schedule=flat,
                   optimizer=plain["optimizer"],
                   average=WeightAverage(decay=0.9, keep="last"))  # fmt: skip
    kept = load_tensors(last.path / "final" / "model.safetensors")
    assert all(torch.equal(tensor, after[-1][name]) for name, tensor in kept.items())


def test_z_loss_lowers_log_z_and_is_no_part_of_the_reported_loss(
    tmp_path: Path, masked_world: World_
) -> None:
    def log_z(job: TrainingJob) -> float:
        model = load_model(job.path / "final")
        (batch, *_) = validation_batches(job, World())
        return float(model(batch.inputs).logsumexp(-1).square().mean())

    off = {"average": None, "steps": 30, "optimizer": AdamWConfig(learning_rate=1e-2)}
    without = run_job(tmp_path, "without", masked_world, z_loss=0.0, **off)
    with_it = run_job(tmp_path, "with", masked_world, z_loss=0.1, **off)
    assert log_z(with_it) < 0.9 * log_z(without)
    first = [read_records(j.path / "curve.jsonl")[0]["train_loss"] for j in (without, with_it)]
    assert first[0] == first[1]  # the first step's nats, before any update


def test_extras_that_are_not_asked_for_leave_the_identity_alone(
    tmp_path: Path, masked_world: World_
) -> None:
    made = run(replace(CONFIG, prompts=(), horizon=Steps(1)), masked_world, tmp_path)
    assert not {"objective", "z_loss", "average", "recompute_blocks"} & set(made.manifest.config)
    assert "logit_softcap" not in made.manifest.config["model"]
    again = replace(CONFIG, prompts=(), horizon=Steps(1), recompute_blocks=True)
    assert run(again, masked_world, tmp_path).fingerprint == made.fingerprint
    other = run(replace(CONFIG, prompts=(), horizon=Steps(1), z_loss=1e-4), masked_world, tmp_path)
    assert other.fingerprint != made.fingerprint


def test_an_objective_the_architecture_cannot_have_is_refused(
    tmp_path: Path, masked_world: World_
) -> None:
    with pytest.raises(ConfigError, match="needs bidirectional attention.*qwen3 has causal"):
        run(replace(CONFIG, objective=MaskedLM()), masked_world, tmp_path)
    with pytest.raises(ConfigError, match="needs causal attention"):
        run(replace(BERT, objective=CausalLM()), masked_world, tmp_path)
    unmasked = text_world(tmp_path, byte_tokenizer(tmp_path, mask=False))
    with pytest.raises(ConfigError, match=r"tokenizer\.mask"):
        run(BERT, unmasked, tmp_path)


def test_masked_text_is_encoded_between_bos_and_eos_and_filled_by_words_only(
    tmp_path: Path,
) -> None:
    tokenizer = Tokenizer.load(byte_tokenizer(tmp_path).path)
    assert masked_ids(tokenizer, f"a{MASK}b") == [
        tokenizer.bos, ord("a"), tokenizer.mask, ord("b"), tokenizer.eos,
    ]  # fmt: skip
    model = SMALL.build(seed=1).eval()
    candidates = fill_masks(model, tokenizer, f"{MASK} <|eos|> {MASK}", count=3)
    assert [len(place) for place in candidates] == [3, 3]
    assert all(c.token < 256 and 0 < c.probability < 1 for place in candidates for c in place)
    assert masked_ids(tokenizer, f"a {MASK} b") == [
        tokenizer.bos, ord("a"), tokenizer.mask, ord(" "), ord("b"), tokenizer.eos,
    ]  # fmt: skip
    assert filled(f"x{MASK}y", [[replace(candidates[0][0], text="Q")]]) == "x[Q]y"
    with pytest.raises(ConfigError, match="masks nothing"):
        fill_masks(model, tokenizer, "no gap")


def test_new_special_tokens_get_the_mean_of_the_old_rows(tmp_path: Path) -> None:
    first_world = text_world(tmp_path, byte_tokenizer(tmp_path))
    for model in (SHAPE, QWEN3, replace(QWEN3, tied_head=False)):
        config = replace(CONFIG, model=model, prompts=(), horizon=Steps(3))
        first = run(config, first_world, tmp_path)
        more = text_world(tmp_path, byte_tokenizer(tmp_path, "<|tool|>", "<|image|>"))
        grown = replace(config, model=None, start=FromCheckpoint(first.ref), horizon=Steps(1),
                        optimizer=AdamWConfig(learning_rate=1e-12, weight_decay=0.0))  # fmt: skip
        second = run(grown, more, tmp_path)
        assert second.facts["new_ids"] == 2
        before, after = weights(first), weights(second)
        for name in ("embedding.weight", "head.weight", "head_bias"):
            if name in before:
                mean = before[name].mean(dim=0)
                assert torch.allclose(after[name][:264], before[name], atol=1e-8)
                assert torch.allclose(after[name][264], mean, atol=1e-6)
                assert torch.allclose(after[name][265], mean, atol=1e-6)
        model_config = load_model(second.path / "final").config
        assert model_config.vocab_size == 266


def test_a_tokenizer_that_does_not_extend_the_old_one_is_refused(tmp_path: Path) -> None:
    world = text_world(tmp_path, byte_tokenizer(tmp_path, "<|tool|>"))
    first = run(replace(CONFIG, prompts=(), horizon=Steps(1)), world, tmp_path)
    start = replace(CONFIG, model=None, start=FromCheckpoint(first.ref))
    other = text_world(tmp_path, byte_tokenizer(tmp_path, "<|image|>", "<|tool|>"))
    with pytest.raises(ConfigError, match="does not merely add special tokens"):
        run(start, other, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
def test_two_processes_train_an_encoder_with_every_extra_as_one_does(
    tmp_path: Path, masked_world: World_, distribution: str
) -> None:
    ends = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        path = make_job(tmp_path / name, *masked_world, **EXTRAS, distribution=distribution)
        if processes == 1:
            loop.train(read_job(path), Silent(), Silent())
        else:
            spawn(path, Silent(), Silent(), processes=2)
        folder = path.parent
        weights = load_tensors(folder / "final" / "model.safetensors")
        ends.append((read_records(folder / "curve.jsonl"), weights))
    (one, ours), (two, theirs) = ends
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "validation_loss", "average_validation_loss"):
            if key in a:
                assert abs(a[key] - b[key]) < 1e-6 * max(1.0, a[key]), (a, b)
    assert any("average_validation_loss" in record for record in two)
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-4), name


def test_weights_of_hugging_face_grow_too(tmp_path: Path) -> None:
    first = run(
        replace(CONFIG, prompts=(), horizon=Steps(2)),
        text_world(tmp_path, byte_tokenizer(tmp_path)), tmp_path,
    )  # fmt: skip
    document, tensors = export_weights(load_model(first.path / "final"))
    directory = tmp_path / "theirs"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(document))
    save_tensors(tensors, directory / "model.safetensors")
    start = replace(CONFIG, model=None, prompts=(), start=HuggingFace(str(directory)),
                    horizon=Steps(1))  # fmt: skip
    more = text_world(tmp_path, byte_tokenizer(tmp_path, "<|tool|>"))
    grown = run(start, more, tmp_path)
    assert grown.facts["new_ids"] == 1
    assert load_model(grown.path / "final").config.vocab_size == 265
    fewer = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)} | {
        bytes([97, i]): 256 + i for i in range(20)})  # fmt: skip
    with pytest.raises(ConfigError, match="not only by special tokens"):
        resolve_start(start, vocabulary=fewer, root=tmp_path)
