"""The stage as the flow runs it, on a small real corpus and an untrained model."""

import json
import math

import pytest
import torch
from pydantic import ValidationError

from model.architectures import GPT2Config
from model.checkpoint_io import save_model
from pipeline.artifacts import Checkpoint
from pipeline.conversations.pydocs_pairs import PydocsPairs
from pipeline.evals.document_scores import read_scores
from pipeline.evals.paired import compare
from pipeline.evals.sft import read_items
from pipeline.stages.evaluate import EvaluateConfig, evaluate
from pipeline.stages.prepare_examples import ExamplesConfig, prepare_examples
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError, TrainingError
from pipeline.store.runtime import Runtime
from tests.conversations.pydocs_tree import small_corpus

QUICK = {"questions_per_kind": 4, "max_answer_tokens": 6, "max_tokens": 8, "bootstrap_draws": 100}


class World:
    def __init__(self, directory):
        self.eval_set, self.corpus, self.root = small_corpus(directory)
        self.runtime = Runtime()
        options = {"root": self.root, "runtime": self.runtime}
        self.tokenizer = train_tokenizer(
            TrainedTokenizerConfig(vocab_size=512), self.corpus, **options
        )
        source = PydocsPairs(max_per_kind=60, max_held_out_per_kind=8)
        self.examples = prepare_examples(
            ExamplesConfig(source=source), self.eval_set, self.corpus, **options
        )

    def checkpoint(self, stage="pretrain", seed=0, vocab_size=512, damage=False):
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=vocab_size, context_length=128, width=32, layers=1, heads=2)
        model = config.build()
        if damage:
            with torch.no_grad():
                model.head_weight.fill_(float("inf"))
        settings = {"seed": seed, "vocab_size": vocab_size, "damage": damage}
        key = artifact_key(stage, 1, settings, [self.tokenizer.key])
        directory = self.root / stage / key.fingerprint[:12]

        def work(directory):
            save_model(model, directory / "final")
            return Outcome()

        build(key, directory, work, root=self.root, runtime=self.runtime)
        return Checkpoint(directory, key.fingerprint)

    def evaluate(self, checkpoint, **options):
        config = EvaluateConfig(**{**QUICK, **options})
        return evaluate(
            config, checkpoint, self.tokenizer, self.eval_set, self.examples,
            root=self.root, runtime=self.runtime,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base_report(world):
    return world.evaluate(world.checkpoint())


def content(report):
    return json.loads((report.path / "report.json").read_text())


def test_report_has_every_figure_of_the_contract(world, base_report):
    report = content(base_report)
    perplexity = report["perplexity"]
    low, high = perplexity["bits_per_byte_low"], perplexity["bits_per_byte_high"]
    assert low < perplexity["bits_per_byte"] < high
    assert perplexity["window"] == 128 and perplexity["stride"] == 64
    assert perplexity["token_perplexity"] == pytest.approx(math.exp(perplexity["nats_per_token"]))
    assert perplexity["documents"] == world.eval_set.facts["documents"]
    assert perplexity["bos_rule"] and list(perplexity["per_source"]) == ["pydocs"]
    sft = report["sft"]
    assert sft["split"] == "held_out" and sft["response_loss"] > 0 and sft["response_tokens"] > 0
    assert set(sft["exact_match"]) == {"parameters", "summary", "lookup", "describe"}
    for row in sft["exact_match"].values():
        assert set(row) >= {"correct", "total", "rate", "low", "high", "baseline"}
    assert [row["prompt"] for row in report["generations"]] == list(EvaluateConfig().prompts)
    assert {"prompt", "expected", "answer", "kind", "correct"} <= set(report["answers"][0])


def test_headline_is_in_the_manifest(base_report):
    report, facts = content(base_report), base_report.facts
    assert facts["bits_per_byte"] == report["perplexity"]["bits_per_byte"]
    assert facts["response_loss"] == report["sft"]["response_loss"]
    assert facts["open_book_baseline"] == report["sft"]["open_book"]["baseline"] > 0


def test_documents_and_items_hold_what_a_paired_comparison_needs(world, base_report):
    table = read_scores(base_report.path / "documents.arrow")
    assert set(table.column_names) >= {"doc_id", "source", "nats", "tokens", "bytes", "overlap"}
    total = sum(table["nats"].to_pylist()) / (math.log(2) * sum(table["bytes"].to_pylist()))
    assert total == pytest.approx(content(base_report)["perplexity"]["bits_per_byte"])
    items = read_items(base_report.path / "sft_items.jsonl")
    assert len(items) == content(base_report)["sft"]["questions"]
    other = world.evaluate(world.checkpoint("finetune", seed=1))
    found = compare(other, base_report)
    expected = content(other)["perplexity"]["bits_per_byte"] - total
    assert found.delta == pytest.approx(expected)
    assert [item.id for item in read_items(other.path / "sft_items.jsonl")] == [i.id for i in items]
    assert content(other)["sft"]["form"] == "answer"
    assert content(base_report)["sft"]["form"] == "continuation"


def test_the_same_inputs_give_the_same_bytes(world, base_report):
    before = (base_report.path / "report.json").read_bytes()
    (base_report.path / "manifest.json").unlink()
    again = world.evaluate(world.checkpoint())
    assert again.fingerprint == base_report.fingerprint
    assert (again.path / "report.json").read_bytes() == before


def test_a_stride_beyond_the_context_is_refused(world):
    with pytest.raises(
        ConfigError, match=r"evaluate.stride=129 exceeds the model's context of 128"
    ):
        world.evaluate(world.checkpoint(), stride=129)


def test_a_model_of_another_vocabulary_is_refused(world):
    with pytest.raises(ArtifactError, match="has 512 ids, the model of .* only 300"):
        world.evaluate(world.checkpoint(vocab_size=300))


def test_weights_without_a_finite_loss_leave_no_report(world):
    checkpoint = world.checkpoint(damage=True)
    with pytest.raises(TrainingError, match="the weights are damaged"):
        world.evaluate(checkpoint)
    assert not any(
        checkpoint.ref in path.read_text() for path in world.root.glob("eval/*/manifest.json")
    )


def test_a_misspelt_key_is_refused():
    with pytest.raises(ValidationError, match="strde"):
        EvaluateConfig(strde=3)


def test_few_shot_answers_are_measured_beside_zero_shot_ones(world):
    report = world.evaluate(world.checkpoint("finetune"), few_shot=1, few_shot_questions_per_kind=2)
    sft = content(report)["sft"]
    assert sft["few_shot"]["questions"] <= 2 * len(sft["exact_match"])
    assert set(sft["few_shot"]["shots"].values()) <= {0, 1}
    assert 0 <= sft["open_book"]["token_f1"] <= 1
    assert "open_book_few_shot_exact_match" in report.facts
