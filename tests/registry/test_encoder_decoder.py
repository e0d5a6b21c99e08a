"""An encoder-decoder from report to shelf: measured, exported, asked by others, promoted or not."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from flows.commands.evaluate import EvaluationRequest, evaluate_model
from model.architectures import Initialization, T5Config
from model.batch import Source
from model.checkpoint_io import load_model, save_model
from model.objectives import SpanCorruption
from pipeline.artifacts import (
    Checkpoint,
    EvalReport,
    ExampleSet,
    ExportedModel,
    TrainedTokenizer,
)
from pipeline.conversations.example import Example, write_examples
from pipeline.evals.measuring import MeasureOptions
from pipeline.evals.target_loss import LABEL, read_pairs_file, score_pairs, span_pairs
from pipeline.serving.loading import load_model as load_reference
from pipeline.serving.masked_gate import masked_gate
from pipeline.stages.evaluate_masked import MaskedEvaluationConfig, evaluate_masked
from pipeline.stages.evaluate_targets import TargetEvaluationConfig, evaluate_targets
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.stages.register import RegistryConfig, register
from pipeline.store.building import Outcome
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import read_json
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import Tokenizer, with_more_specials, with_our_specials
from pipeline.training.rewriting import source_ids, write_targets
from tests.registry.test_encoder import TEXTS, EncoderWorld
from tests.registry.worlds import PATTERN, RUNTIME

MEASURED = TargetEvaluationConfig(prompts=("The <extra_id_0>at",), window=24)
SHAPE = T5Config(
    vocab_size=273, context_length=32, width=16, layers=1, heads=2, head_width=8, hidden_width=32,
    buckets=8, max_distance=20, init=Initialization(1.0, 0.5, 1.0),
)  # fmt: skip


class PairWorld(EncoderWorld):
    """The encoders' world with sentinels for the mask."""

    def tokenizer(self) -> TrainedTokenizer:
        plain = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)})
        tokenizer = with_more_specials(plain, (), mask=False, sentinels=10)

        def work(directory: Path) -> Outcome:
            tokenizer.save(directory)
            write_huggingface(tokenizer, directory / "hf")
            return Outcome({"vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256})

        home = self.made("tokenizer", "tokenizer", {"sentinels": 10}, [], work)
        return TrainedTokenizer.open(home)

    def writer(self, seed: int, bias: float = 0.0) -> Checkpoint:
        """`bias` makes it worse in a way that every token notices."""

        def work(directory: Path) -> Outcome:
            model = SHAPE.build(seed=seed)
            with torch.no_grad():
                assert model.head is not None
                model.head.weight.mul_(1.0 + bias)
            save_model(model, directory / "final")
            return Outcome({"steps": 1})

        config: dict[str, object] = {"seed": seed, "bias": bias}
        home = self.made("pretrain", "pretrain", config, [self.tokenizer().key], work)
        return Checkpoint.open(home)

    def report(self, checkpoint: Checkpoint) -> EvalReport:
        return evaluate_targets(
            MEASURED, checkpoint, self.tokenizer(), self.eval_set(), root=self.root, runtime=RUNTIME
        )

    def export(self, checkpoint: Checkpoint) -> ExportedModel:
        return export_model(
            ExportConfig(name="writer"), checkpoint, self.tokenizer(), self.report(checkpoint),
            root=self.root, runtime=RUNTIME,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> PairWorld:
    return PairWorld(tmp_path)


def test_the_report_says_what_it_measured_and_is_the_sum_of_the_logits(world: PairWorld) -> None:
    checkpoint = world.writer(1)
    report = read_json(world.report(checkpoint).path / "report.json")
    targets = report["targets"]
    assert targets["label"] == LABEL and targets["comparable_with_bits_per_byte"] is False
    named = set(report) | set(world.report(checkpoint).facts)
    assert not named & {"perplexity", "bits_per_byte"}
    model = load_model(checkpoint.weights_path.parent)
    words = Tokenizer.load(world.tokenizer().path)
    pairs = span_pairs(SpanCorruption(), words, list(TEXTS), list(TEXTS.values()), window=24,
                       max_pairs=2_000, seed=0)  # fmt: skip
    total = count = 0.0
    for pair in pairs:
        target, source = torch.tensor(pair.target)[None], torch.tensor(pair.source)[None]
        inputs = torch.cat((torch.tensor([[words.bos]]), target[:, :-1]), dim=1)
        with torch.no_grad():
            logits = model(inputs, source=Source(source, torch.ones_like(source)))  # type: ignore[call-arg]
        total -= logits.log_softmax(-1).gather(2, target.unsqueeze(2)).sum().item()
        count += target.numel()
    assert targets["nats_per_token"] == pytest.approx(total / count, abs=1e-5)
    assert (targets["tokens"], targets["targets"]) == (count, len(pairs))
    assert report["examples"][0]["filled"].startswith("The [")


def test_figures_depend_neither_on_the_batch_nor_on_other_documents(world: PairWorld) -> None:
    words = Tokenizer.load(world.tokenizer().path)
    model = load_model(world.writer(1).weights_path.parent)

    def scored(names: list[str], batch_tokens: int) -> dict[str, float]:
        pairs = span_pairs(SpanCorruption(), words, names, [TEXTS[n] for n in names], window=24,
                           max_pairs=2_000, seed=0)  # fmt: skip
        found = score_pairs(model, names, pairs, start=words.bos, batch_tokens=batch_tokens)
        return {name: float(found.nats[found.documents == i].sum()) for i, name in enumerate(names)}

    whole = scored(["a", "b", "c"], 8_192)
    assert scored(["c", "a", "b"], 1) == pytest.approx(whole, abs=1e-4)
    assert scored(["b"], 8_192)["b"] == pytest.approx(whole["b"], abs=1e-4)


def test_the_export_writes_what_we_write_without_our_code(world: PairWorld) -> None:
    exported = world.export(world.writer(1))
    assert exported.facts["prompt_form"] == "rewrite"
    theirs = AutoModelForSeq2SeqLM.from_pretrained(exported.hf_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(exported.hf_path)
    words = Tokenizer.load(world.tokenizer().path)
    text = "The <extra_id_0> sat on <extra_id_1> mat"
    assert tokenizer(text).input_ids == source_ids(words, text)
    found = theirs.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=9)[0]
    loaded = load_reference(str(exported.hf_path), world.root)
    (ours,) = write_targets(loaded.model, loaded.tokenizer, [text], max_tokens=9)
    assert str(tokenizer.decode(found[1:])).removesuffix("<|eos|>") == ours.text
    assert loaded.writes_targets and not loaded.fills_masks
    with pytest.raises(ConfigError, match="encoder-decoder, which mill serve cannot use"):
        loaded.require_decoder("mill serve")


def registered(world: PairWorld, checkpoint: Checkpoint) -> object:
    return register(
        RegistryConfig(name="writer"), world.export(checkpoint), world.report(checkpoint),
        world.eval_set(), root=world.root, runtime=RUNTIME,
    )  # fmt: skip


def test_the_gate_compares_the_same_target_tokens_document_by_document(world: PairWorld) -> None:
    good, bad = (world.report(world.writer(1, bias=bias)) for bias in (0.0, 9.0))
    figure = "target_nats_per_token"
    better, worse = masked_gate(good, bad, figure=figure), masked_gate(bad, good, figure=figure)
    assert better.promote and "nats per target token against" in better.reason
    assert not worse.promote and worse.figures["delta"] == -better.figures["delta"] > 0
    assert not masked_gate(good, good, figure=figure).promote


@pytest.mark.slow
def test_a_better_one_becomes_champion_and_answers_through_mlflow(world: PairWorld) -> None:
    first = registered(world, world.writer(1, bias=9.0))
    assert first.promoted and "target_nats_per_token" in first.reason  # type: ignore[attr-defined]
    better = registered(world, world.writer(1))
    assert better.promoted, better.reason  # type: ignore[attr-defined]
    assert "nats per target token against" in better.reason  # type: ignore[attr-defined]
    worse = registered(world, world.writer(1, bias=4.0))
    assert not worse.promoted and "not better" in worse.reason  # type: ignore[attr-defined]
    mlflow.set_tracking_uri(f"sqlite:///{world.root / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model("models:/writer@champion")
    texts = ["The <extra_id_0> sat", "<|eos|> plain"]
    answer = loaded.predict({"prompt": texts, "max_tokens": 7})
    words = Tokenizer.load(world.tokenizer().path)
    model = load_model(world.writer(1).weights_path.parent)
    ours = write_targets(model, words, texts, max_tokens=7)
    assert [choice["text"] for choice in answer["choices"]] == [one.text for one in ours]
    assert all(choice["finish_reason"] in ("stop", "length") for choice in answer["choices"])
    with pytest.raises(Exception, match="the model reads 33"):
        loaded.predict({"prompt": "x" * 40})


def test_pairs_are_scored_and_bad_lines_counted(
    world: PairWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"source": "cat", "target": "chat"}), "", "{", "[1]", '{"text": "x"}',
             json.dumps({"source": 3, "target": "x"}), json.dumps({"source": "a", "target": ""}),
             json.dumps({"prompt": "dog", "answer": "chien"}),
             json.dumps({"source": "x" * 90, "target": "long"})]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines))
    words = Tokenizer.load(world.tokenizer().path)
    names, pairs, left_out = read_pairs_file(path, words, limit=33)
    assert names == ["pairs.jsonl:1", "pairs.jsonl:8"] and sum(left_out.values()) == 6
    assert words.decode(pairs[1].target[:-1]) == "chien"
    checkpoint = world.writer(1)
    request = EvaluationRequest(checkpoint.ref, str(path), device="cpu")
    out = tmp_path / "out"
    evaluate_model(request, MeasureOptions(draws=100), out=out, root=world.root)
    found = read_json(out / "evaluation.json")["targets"]
    assert found["targets"] == 2 and found["tokens"] == 5 + 6
    assert "not comparable with bits per byte" in capsys.readouterr().out
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "The cat sat on the mat, and the mat was red."}))
    evaluate_model(replace(request, data=str(text)), MeasureOptions(draws=100), out=out,
                   root=world.root)  # fmt: skip
    assert read_json(out / "evaluation.json")["targets"]["targets"] == 2
    path.write_text("{}\n[]")
    with pytest.raises(DataError, match="holds no pair"):
        read_pairs_file(path, words, limit=33)


def test_a_tuned_one_is_measured_on_the_pairs_held_out(world: PairWorld) -> None:
    held_out = [Example(id=str(i), prompt=f"say {i}", answer="ab") for i in range(5)]
    held_out.append(Example(id="long", prompt="x" * 90, answer="y"))

    def work(directory: Path) -> Outcome:
        for split, rows in (("train", held_out), ("validation", []), ("held_out", held_out)):
            write_examples(directory / f"{split}.jsonl", rows)
        return Outcome({"train": 6})

    home = world.made("examples", "examples", {"pairs": 6}, [], work)
    examples, checkpoint = ExampleSet.open(home), world.writer(1)
    measured = evaluate_targets(
        MEASURED, checkpoint, world.tokenizer(), world.eval_set(), examples,
        root=world.root, runtime=RUNTIME,
    )  # fmt: skip
    targets = read_json(measured.path / "report.json")["targets"]
    assert (targets["targets"], targets["tokens"], targets["too_long"]) == (5, 15, 1)
    assert targets["of"] == "held-out examples" and 0 <= targets["exact_match"] <= 1
    assert examples.ref in measured.manifest.inputs
    spans = world.report(checkpoint)
    refused = masked_gate(measured, spans, figure="target_nats_per_token")
    assert not refused.promote and "different examples never promote" in refused.reason
    worse = evaluate_targets(
        MEASURED, world.writer(1, bias=9.0), world.tokenizer(), world.eval_set(), examples,
        root=world.root, runtime=RUNTIME,
    )  # fmt: skip
    assert masked_gate(measured, worse, figure="target_nats_per_token").promote


def test_a_model_of_another_kind_and_a_wide_window_are_refused(world: PairWorld) -> None:
    checkpoint = world.writer(1)
    with pytest.raises(ArtifactError, match="is a decoder|no hidden tokens"):
        evaluate_masked(MaskedEvaluationConfig(), checkpoint, world.tokenizer(), world.eval_set(),
                        root=world.root, runtime=RUNTIME)  # fmt: skip
    with pytest.raises(ConfigError, match="window=64 exceeds"):
        evaluate_targets(
            MEASURED.model_copy(update={"window": 64}), checkpoint, world.tokenizer(),
            world.eval_set(), root=world.root, runtime=RUNTIME,
        )  # fmt: skip
