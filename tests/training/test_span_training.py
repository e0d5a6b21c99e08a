"""Span corruption through the same stage and loop: it learns, resumes bit for bit, and refuses."""

from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from model.architectures import T5Config
from model.averaging import WeightAverage
from model.checkpoint_io import load_tensors
from model.encoder_decoder import EncoderDecoder
from model.objectives import CausalLM, SpanCorruption
from model.optim import AdamWConfig, MuonConfig
from pipeline.artifacts import Checkpoint, TokenShards, TrainedTokenizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.errors import ConfigError
from pipeline.store.runtime import Silent
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training import loop
from pipeline.training.config import Steps
from pipeline.training.data import local_batch, open_source, validation_batches
from pipeline.training.devices import World
from pipeline.training.job import read_job
from pipeline.training.launch import spawn
from pipeline.training.records import read_records
from pipeline.training.rewriting import filled_spans, source_ids, write_targets
from pipeline.training.step import Stepper, SummedLoss
from pipeline.training.stopping import Preempted
from tests.training.worlds import CONFIG, RUNTIME, make_job, make_shards, make_tokenizer

World_ = tuple[TrainedTokenizer, TokenShards]
SHAPE = T5Config(width=32, layers=2, heads=2, head_width=16, hidden_width=64)
T5 = replace(CONFIG, model=SHAPE, prompts=("Beautiful is<extra_id_0>than ugly",))
SMALL = replace(SHAPE, vocab_size=283, context_length=32)


def sentinel_tokenizer(root: Path, sentinels: int = 20) -> TrainedTokenizer:
    return make_tokenizer(root, sentinels=sentinels)


def text_world(root: Path, tokenizer: TrainedTokenizer) -> World_:
    texts = [topics[name] for name in sorted(topics)[:12]]
    return tokenizer, make_shards(root, tokenizer, texts[2:], texts[:2])


@pytest.fixture
def span_world(tmp_path: Path) -> World_:
    return text_world(tmp_path, sentinel_tokenizer(tmp_path))


def run(config: object, world: World_, root: Path) -> Checkpoint:
    tokenizer, shards = world
    return pretrain(config, shards, tokenizer, root=root, runtime=RUNTIME)  # type: ignore[arg-type]


def test_an_encoder_decoder_learns_and_shows_what_it_writes(
    tmp_path: Path, span_world: World_
) -> None:
    config = replace(T5, horizon=Steps(60), context_length=64, batch_rows=8,
                     optimizer=AdamWConfig(learning_rate=1e-2))  # fmt: skip
    made = run(config, span_world, tmp_path)
    losses = [r["validation_loss"] for r in read_records(made.path / "curve.jsonl")
              if "validation_loss" in r]  # fmt: skip
    assert losses[-1] < 3.0 and losses[-1] < losses[0] - 1.0
    assert made.manifest.config["objective"]["kind"] == "spans"
    samples = read_records(made.path / "samples.jsonl")
    assert [record["when"] for record in samples] == ["untrained", "end"]
    assert samples[1]["text"].startswith("Beautiful is[") and "target" in samples[1]
    assert made.facts["flops_per_token"] < SHAPE.flops_per_token(predicted_share=0.5)


def test_validation_spans_are_the_same_for_every_training_seed(
    tmp_path: Path, span_world: World_
) -> None:
    job = read_job(make_job(tmp_path, *span_world, model=SMALL, objective=SpanCorruption()))
    first, second = (validation_batches(replace(job, seed=seed), World()) for seed in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert one.source is not None and other.source is not None
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.source.inputs, other.source.inputs)
    assert sum(batch.loss_mask.sum().item() for batch in first) > 10


def test_what_is_cut_out_depends_neither_on_the_layout_nor_on_where_a_run_begins(
    tmp_path: Path, span_world: World_
) -> None:
    job = read_job(make_job(tmp_path, *span_world, model=SMALL, objective=SpanCorruption()))

    def rows(batch_rows: int, start: int, count: int) -> list[tuple[list[int], list[int]]]:
        source = open_source(job, job.train_paths, rows=batch_rows, seed=job.seed)
        found = []
        for step in range(start, start + count):
            arrays = source.batch(step)
            found += list(
                zip(arrays["source_inputs"].tolist(), arrays["targets"].tolist(), strict=True)
            )
        return found

    epoch = open_source(job, job.train_paths, rows=1, seed=0).num_samples
    count = epoch // 4 * 2 + 2  # past the seam of the first epoch
    whole = rows(4, 0, count)
    assert rows(8, 0, count // 2) == whole
    assert rows(4, count - 3, 3) == whole[-12:]


def test_loss_and_gradients_do_not_depend_on_how_a_batch_is_split(
    tmp_path: Path, span_world: World_
) -> None:
    job = read_job(make_job(tmp_path, *span_world, model=SMALL, objective=SpanCorruption()))
    source = open_source(job, job.train_paths, rows=8, seed=0)
    batch = local_batch(source.batch(0), world=World(), device=torch.device("cpu"))
    found = []
    for micro in (8, 3, 1):
        model = SMALL.build(seed=0).double()
        model.compute_dtype = torch.float64
        stepper = Stepper(
            SummedLoss(model), optimizer=loop.build_optimizer(model, AdamWConfig()),
            micro_rows=micro, grad_clip=None, device=torch.device("cpu"),
            parallel=loop.parallel("ddp", world=World(), device=torch.device("cpu"), batch_rows=8),
        )  # fmt: skip
        loss = stepper.gradients(batch.local, trained_tokens=batch.trained_tokens)
        found.append((loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    for loss, gradients in found[1:]:
        assert abs(loss - found[0][0]).item() < 1e-12
        for one, other in zip(gradients, found[0][1], strict=True):
            assert (one - other).abs().max() < 1e-10


EXTRAS: dict[str, Any] = {
    "average": WeightAverage(decay=0.9), "z_loss": 1e-3, "recompute_blocks": True,
    "objective": SpanCorruption(), "model": SMALL, "steps": 12, "prompts": (),
    "optimizer": MuonConfig(),
}  # fmt: skip


def test_with_every_extra_a_stopped_run_ends_bit_for_bit_like_one_that_went_through(
    tmp_path: Path, span_world: World_, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = []
    for name, stops in (("through", []), ("stopped", [5, 3])):
        (tmp_path / name).mkdir()
        path = make_job(tmp_path / name, *span_world, **EXTRAS)
        for _ in [*stops, None]:
            job = read_job(path)
            asked = iter(range(1, 100))
            limit = stops.pop(0) if stops else 1000
            monkeypatch.setattr(loop, "stop_requested", lambda: next(asked) >= limit)  # noqa: B023
            try:
                facts = loop.train(job, Silent(), Silent())
            except Preempted:
                assert list((job.path / "checkpoints").glob("step-*"))
        records = read_records(job.path / "curve.jsonl")
        losses = {r["step"]: r["validation_loss"] for r in records if "validation_loss" in r}
        finals.append((load_tensors(job.path / "final" / "model.safetensors"), facts, losses))
    (through, one, curve), (stopped, other, again) = finals
    assert one["steps"] == other["steps"] == 12 and other["resumed"] == 2
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in through.items())
    assert curve == again and len(curve) == 3
    assert one["average_validation_loss"] == other["average_validation_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
def test_two_processes_train_an_encoder_decoder_as_one_does(
    tmp_path: Path, span_world: World_, distribution: str
) -> None:
    ends = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        # Not Muon: its iteration in bfloat16 enlarges the rounding of a sum over processes.
        path = make_job(
            tmp_path / name, *span_world,
            **{**EXTRAS, "optimizer": AdamWConfig(learning_rate=3e-3)}, distribution=distribution,
        )  # fmt: skip
        if processes == 1:
            loop.train(read_job(path), Silent(), Silent())
        else:
            spawn(path, Silent(), Silent(), processes=2)
        weights = load_tensors(path.parent / "final" / "model.safetensors")
        ends.append((read_records(path.parent / "curve.jsonl"), weights))
    (one, ours), (two, theirs) = ends
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "validation_loss"):
            if key in a:
                assert abs(a[key] - b[key]) < 1e-6 * max(1.0, a[key]), (a, b)
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-3), name


def test_an_objective_the_architecture_or_the_tokenizer_cannot_have_is_refused(
    tmp_path: Path, span_world: World_
) -> None:
    with pytest.raises(ConfigError, match="needs encoder-decoder attention.*qwen3 has causal"):
        run(replace(CONFIG, objective=SpanCorruption()), span_world, tmp_path)
    with pytest.raises(ConfigError, match="needs causal attention"):
        run(replace(T5, objective=CausalLM()), span_world, tmp_path)
    few = text_world(tmp_path, sentinel_tokenizer(tmp_path, 3))
    with pytest.raises(ConfigError, match=r"up to 6 spans.*3 sentinels.*at least 6"):
        run(replace(T5, context_length=128), few, tmp_path)
    none = text_world(tmp_path, sentinel_tokenizer(tmp_path, 0))
    with pytest.raises(ConfigError, match=r"set tokenizer\.sentinels"):
        run(T5, none, tmp_path)


def test_a_source_s_sentinels_are_tokens_and_what_is_written_goes_in_their_places(
    tmp_path: Path,
) -> None:
    tokenizer = Tokenizer.load(sentinel_tokenizer(tmp_path).path)
    first, second = tokenizer.sentinels[:2]
    assert source_ids(tokenizer, "a <extra_id_0> b<extra_id_1>") == [
        ord("a"), first, ord(" "), ord("b"), second, tokenizer.eos,
    ]  # fmt: skip
    assert source_ids(tokenizer, "<|eos|>")[:-1] == tokenizer.encode("<|eos|>")
    with pytest.raises(ConfigError, match="<extra_id_99> is no token"):
        source_ids(tokenizer, "a <extra_id_99>")
    target = "<extra_id_0> cat<extra_id_1> mat <extra_id_0> again"
    filled = filled_spans("The <extra_id_0> on <extra_id_1>, <extra_id_2>.", target)
    assert filled == "The [cat] on [mat], [?]."
    model = SMALL.build(seed=1).eval()
    assert isinstance(model, EncoderDecoder)
    texts = ["a <extra_id_0>", "a longer question than the first", "x"]
    written = write_targets(model, tokenizer, texts, max_tokens=9)
    alone = [write_targets(model, tokenizer, [text], max_tokens=9)[0] for text in texts]
    assert written == alone and all(len(one.ids) <= 9 for one in written)
