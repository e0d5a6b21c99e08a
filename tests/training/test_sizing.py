"""`size: auto`: a budget decides the model, once; what was predicted stands beside the outcome."""

from dataclasses import replace

import pytest

from model.averaging import WeightAverage
from model.objectives import MaskedLM, SpanCorruption
from pipeline.stages.pretrain import pretrain
from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_text
from pipeline.training import sizing
from pipeline.training.config import Minutes, PretrainConfig, Steps, Tokens
from pipeline.training.scaling import (
    DEPTHS,
    REPEAT_DECAY,
    auto_batch_rows,
    auto_dropout,
    auto_model,
    auto_optimizer,
    best,
    block_parameters,
    candidates,
    effective_tokens,
    predicted_loss,
)
from tests.training.worlds import RUNTIME

RATES = {depth: 20_000.0 * 12e6 / (6 * block_parameters(depth) + 12e6) for depth in DEPTHS}
AUTO = PretrainConfig(
    size="auto", budget=Tokens(3_000), context_length=16, prompts=(), validation_every=1000
)


def chosen(seconds, unique=10**12):
    found = candidates(RATES, seconds=seconds, tokens=None, unique=unique, bytes_per_token=3.5)
    return best(found, unique=unique)


def test_more_time_buys_a_larger_model_and_a_lower_loss():
    picks = [chosen(seconds) for seconds in (60, 3600, 100 * 3600, 10_000 * 3600)]
    assert [p.depth for p in picks] == sorted(p.depth for p in picks)
    assert picks[0].depth < picks[-1].depth
    losses = [p.predicted_loss for p in picks]
    assert losses == sorted(losses, reverse=True)


def test_scarce_text_prefers_a_smaller_model():
    assert chosen(100 * 3600, unique=100_000).depth < chosen(100 * 3600).depth


def test_a_repeated_token_is_worth_less_and_less():
    assert effective_tokens(900, 1000) == 900
    assert 3500 < effective_tokens(4000, 1000) < 4000
    assert effective_tokens(10**9, 1000) == pytest.approx(1000 * (1 + REPEAT_DECAY))
    few, many = (predicted_loss(3, n, unique=1e6, bytes_per_token=3.5) for n in (1e6, 1e8))
    assert many < few


def test_block_parameters_are_those_of_the_model():
    model = replace(auto_model(3), vocab_size=100, context_length=16)
    inside = model.flops_per_token() - 6 * 100 * model.width - 12 * 3 * model.width * 16
    assert inside == 6 * block_parameters(3)


def test_batch_grows_with_the_run_and_leaves_enough_steps():
    assert auto_batch_rows(3_000_000, 256) == 16
    assert auto_batch_rows(3_000_000_000, 256) > 16
    assert auto_batch_rows(3_000, 256) == 1
    assert 50_000 // (auto_batch_rows(50_000, 64) * 64) >= 20


def test_repeating_too_often_lowers_rates_and_adds_weight_decay_and_dropout():
    assert auto_optimizer(4, epochs=4.0).weight_decay == auto_dropout(4.0) == 0.0
    assert auto_optimizer(4, epochs=4.1).weight_decay > 0.0
    assert auto_dropout(4.1) > 0.0
    few, many = auto_optimizer(3, epochs=2.0), auto_optimizer(3, epochs=16.0)
    assert few == auto_optimizer(3, epochs=0.5)
    for name in ("learning_rate", "embedding_learning_rate", "vector_learning_rate"):
        assert getattr(many, name) == pytest.approx(getattr(few, name) / 8)
    wide, narrow = auto_optimizer(12, epochs=1.0), auto_optimizer(3, epochs=1.0)
    assert wide.embedding_learning_rate == pytest.approx(narrow.embedding_learning_rate / 2)


def test_the_size_is_decided_once_and_its_prediction_reported(tmp_path, world, heard, monkeypatch):
    tokenizer, shards = world
    monkeypatch.setattr(sizing, "MEASURE_SECONDS", 0.01)  # the smallest depth only
    runtime = replace(RUNTIME, progress=heard)
    first = pretrain(AUTO, shards, tokenizer, root=tmp_path, runtime=runtime)
    record = read_json(next((tmp_path / "resolved").glob("size-*.json")))
    assert record["measured_depths"] == 1 and record["tokens"] == 3_000
    facts = first.facts
    assert facts["kept_step"] == facts["best_step"]  # so many passes: the best weights are kept
    expected = facts["best_validation_loss"] / facts["predicted_validation_loss"] - 1
    assert facts["prediction_error"] == pytest.approx(expected)
    assert heard.named("predicted")[0]["prediction_error"] == facts["prediction_error"]
    (tmp_path / "resolved").joinpath("other").touch()

    def never(*_given, **_names):
        raise AssertionError("measured again")

    monkeypatch.setattr(sizing, "measure_rates", never)
    again = pretrain(AUTO, shards, tokenizer, root=tmp_path, runtime=runtime)
    assert again.key == first.key


def test_a_plan_remembers_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sizing, "measure_rates", lambda *_a, **_k: ({2: 100.0, 3: 50.0}, 1))
    config, plan = sizing.resolve_size(
        replace(AUTO, budget=Minutes(1.0)), vocab_size=99, unique_tokens=10_000,
        bytes_per_token=3.0, inputs=["x"], root=tmp_path, runtime=replace(RUNTIME, may_build=False),
    )  # fmt: skip
    assert plan.tokens == 5_700 and config.size is None  # 95 % of 60 s at 100 tokens/s
    assert not (tmp_path / "resolved").exists()


def test_a_budget_beyond_four_epochs_warns(tmp_path, heard, monkeypatch):
    monkeypatch.setattr(sizing, "measure_rates", lambda *_a, **_k: ({2: 100.0}, 1))
    config, _ = sizing.resolve_size(
        replace(AUTO, budget=Tokens(50_000)), vocab_size=99, unique_tokens=10_000,
        bytes_per_token=3.0, inputs=["x"], root=tmp_path, runtime=replace(RUNTIME, progress=heard),
    )  # fmt: skip
    assert "repeats the training text 5.0 times" in heard.named("warning")[0]["message"]
    assert config.optimizer.weight_decay > 0 and config.dropout > 0 and config.keep == "best"
    averaged = replace(AUTO, budget=Tokens(50_000), average=WeightAverage(0.9))
    config, _ = sizing.resolve_size(
        averaged, vocab_size=99, unique_tokens=10_000, bytes_per_token=3.0, inputs=["x"],
        root=tmp_path, runtime=RUNTIME,
    )  # fmt: skip
    assert config.keep == "last"  # the average is what is kept


@pytest.mark.parametrize("content", ["{}", '{"depth": 7, "tokens": 1}', "[1]", "{"])
def test_a_damaged_record_is_named(tmp_path, monkeypatch, content):
    monkeypatch.setattr(sizing, "measure_rates", lambda *_a, **_k: ({2: 100.0}, 1))
    given = {
        "vocab_size": 99, "unique_tokens": 10_000, "bytes_per_token": 3.0, "inputs": ["x"],
        "root": tmp_path, "runtime": RUNTIME,
    }  # fmt: skip
    sizing.resolve_size(AUTO, **given)
    write_text(next((tmp_path / "resolved").glob("size-*.json")), content)
    with pytest.raises(ArtifactError, match="size-"):
        sizing.resolve_size(AUTO, **given)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "auto"}, "size is set without budget"),
        ({"budget": Minutes(5.0)}, "budget is set without size: auto"),
        ({"size": "auto", "budget": Minutes(5.0), "batch_rows": 8}, "batch_rows is chosen"),
        ({"size": "auto", "budget": Minutes(5.0), "horizon": Steps(3)}, "horizon is chosen"),
    ],
)
def test_half_a_choice_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        PretrainConfig(**settings)


def test_a_size_chosen_for_a_decoder_is_refused_for_another_objective() -> None:
    for objective in (MaskedLM(), SpanCorruption()):
        with pytest.raises(ValueError, match="size: auto chooses a decoder"):
            PretrainConfig(size="auto", budget=Tokens(1_000_000), objective=objective)


def test_a_budget_too_small_to_choose_a_size_by_is_refused() -> None:
    with pytest.raises(ValueError, match=r"budget\.tokens=10 is too little"):
        PretrainConfig(size="auto", budget=Tokens(10))
