"""A classifier from labels to shelf: learnt, resumed, measured, exported, asked, gated."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from model.bert_classifier import HEAD, BertClassifierConfig, Level
from model.checkpoint_io import load_model, load_tensors
from model.optim import AdamWConfig
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExportedModel, LabelSet
from pipeline.evals.classification import (
    Predictions,
    probabilities,
    score_classes,
    summarise_classes,
)
from pipeline.labels.example import Labelled
from pipeline.labels.files import LabelFiles
from pipeline.serving.loading import load_model as load_reference
from pipeline.stages.evaluate_classes import ClassesEvaluationConfig, evaluate_classes
from pipeline.stages.evaluate_masked import evaluate_masked
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.stages.prepare_labels import LabelsConfig, prepare_labels
from pipeline.stages.register import RegistryConfig, register
from pipeline.stages.train_classifier import train_classifier
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import read_json
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training import loop
from pipeline.training.classifying import ClassifyConfig
from pipeline.training.config import FromCheckpoint, HuggingFace, PretrainConfig, Scratch, Steps
from pipeline.training.start import resolve_start
from pipeline.training.stopping import Preempted
from tests.registry.test_encoder import MEASURED, EncoderWorld
from tests.registry.worlds import RUNTIME

ROUND, CROSSED = ("oooo", "ooo", "ooou", "oouo"), ("xxxx", "xxx", "xxxz", "xxzx")
TRAINING = ClassifyConfig(
    horizon=Steps(150), batch_rows=8, optimizer=AdamWConfig(learning_rate=1e-2), dropout=0.0,
    validation_every=25,
)  # fmt: skip


@dataclass
class LabelWorld:
    """Labels in a file, encoders to learn them, and everything after."""

    encoders: EncoderWorld

    @property
    def root(self) -> Path:
        return self.encoders.root

    def labels(self, level: Level = "text", name: str = "things", rows: int = 160) -> LabelSet:
        path = self.root / f"{level}.jsonl"
        lines = []
        for i in range(rows):
            thing, label = (ROUND, "round") if i % 2 else (CROSSED, "crossed")
            words = [f"n{i}", "the", thing[i // 2 % 4], "is"]
            row: dict[str, object] = {"text": " ".join(words), "label": label}
            if level == "word":
                row = {"words": words, "labels": ["other", "other", label, "other"]}
            lines.append(json.dumps(row))
        path.write_text("\n".join(lines), encoding="utf-8")
        source = LabelFiles(
            paths=(str(path),), level=level, held_out_fraction=0.3, validation_fraction=0.1
        )
        return self.prepared(source, name)

    def prepared(self, source: LabelFiles, name: str) -> LabelSet:
        """Of files: they have nothing to do with a corpus, whatever stands in its place."""
        eval_set: EvalSet = self.encoders.eval_set()
        return prepare_labels(
            LabelsConfig(source=source), name, eval_set, eval_set,  # type: ignore[arg-type]
            root=self.root, runtime=RUNTIME,
        )  # fmt: skip

    def classifier(self, labels: LabelSet, config: ClassifyConfig = TRAINING) -> Checkpoint:
        return train_classifier(
            config, self.encoders.encoder(), labels, self.encoders.tokenizer(),
            root=self.root, runtime=RUNTIME,
        )  # fmt: skip

    def report(self, checkpoint: Checkpoint, labels: LabelSet) -> EvalReport:
        return evaluate_classes(
            ClassesEvaluationConfig(bootstrap_draws=200), checkpoint, self.encoders.tokenizer(),
            labels, root=self.root, runtime=RUNTIME,
        )  # fmt: skip

    def exported(self, checkpoint: Checkpoint, report: EvalReport) -> ExportedModel:
        return export_model(
            ExportConfig(), checkpoint, self.encoders.tokenizer(), report, root=self.root,
            runtime=RUNTIME,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> LabelWorld:
    return LabelWorld(EncoderWorld(tmp_path))


@pytest.mark.parametrize("level", ["text", "word"])
def test_a_classifier_learns_and_is_measured_beside_the_majority(
    world: LabelWorld, level: Level
) -> None:
    labels = world.labels(level)
    checkpoint = world.classifier(labels)
    content = read_json(world.report(checkpoint, labels).path / "report.json")["classes"]
    assert content["accuracy_low"] > content["majority"]["accuracy"] + 0.1
    assert content["accuracy_low"] <= content["accuracy"] <= content["accuracy_high"]
    assert content["macro_f1"] > content["majority"]["macro_f1"] + 0.2
    assert content["over_majority_low"] > 0
    if level == "word":
        assert content["majority"]["label"] == "other"
        assert content["majority"]["accuracy"] == pytest.approx(0.75)
    assert content["targets"] == sum(row["targets"] for row in content["per_label"].values())
    curve = [json.loads(line) for line in open(checkpoint.path / "curve.jsonl", encoding="utf-8")]
    losses = [row["validation_loss"] for row in curve if "validation_loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert checkpoint.facts["rows"]["train"]["truncated"] == 0


def test_a_killed_run_goes_on_to_the_same_bits(
    world: LabelWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = world.labels()
    config = replace(TRAINING, horizon=Steps(8), dropout=0.1, seed=3)
    straight = world.classifier(labels, config)
    expected = load_tensors(straight.weights_path)
    resumed = LabelWorld(EncoderWorld(world.root / "again"))
    resumed.root.mkdir()
    done = iter(range(1, 100))
    monkeypatch.setattr(loop, "stop_requested", lambda: next(done) == 5)
    with pytest.raises(Preempted, match="stopped at step 5"):
        resumed.classifier(resumed.labels(), config)
    monkeypatch.undo()
    checkpoint = resumed.classifier(resumed.labels(), config)
    assert checkpoint.facts["resumed"] == 1
    for name, tensor in load_tensors(checkpoint.weights_path).items():
        assert torch.equal(tensor, expected[name]), name


def test_the_start_decides_the_encoder_and_the_seed_the_head(world: LabelWorld) -> None:
    labels = world.labels()
    still = replace(TRAINING, horizon=Steps(1), optimizer=AdamWConfig(learning_rate=1e-12))
    base = load_tensors(world.encoders.encoder().weights_path)
    tuned = load_tensors(world.classifier(labels, still).weights_path)
    other = replace(still, seed=still.seed + 1)  # the base was drawn with the seed of `still`
    elsewhere = load_tensors(world.classifier(labels, other).weights_path)
    scratch = load_tensors(world.classifier(labels, replace(other, start=Scratch())).weights_path)
    name = "blocks.0.attention.query.weight"
    assert torch.allclose(tuned[name], base[name], atol=1e-6)
    assert torch.allclose(elsewhere[name], base[name], atol=1e-6)
    assert not torch.allclose(scratch[name], base[name], atol=1e-3)
    exported = world.encoders.exported(world.encoders.encoder())
    imported = replace(still, start=HuggingFace(str(exported.hf_path)))
    from_files = load_tensors(world.classifier(labels, imported).weights_path)
    for key, tensor in tuned.items():
        assert torch.allclose(from_files[key], tensor, atol=1e-6), key
    assert {key for key in tuned if key.startswith(HEAD)} == {
        "head.weight", "head_bias", "head_transform.dense.weight", "head_transform.dense.bias",
    }  # fmt: skip


def test_what_cannot_be_classified_with_is_refused(world: LabelWorld) -> None:
    labels = world.labels()
    with pytest.raises(ConfigError, match="context_length=64 exceeds the encoder's 32"):
        world.classifier(labels, replace(TRAINING, context_length=64))
    from tests.registry.worlds import World

    other = World(world.root / "decoder")
    with pytest.raises(ConfigError, match="needs an encoder"):
        train_classifier(
            TRAINING, other.base(), labels, other.tokenizer(), root=world.root, runtime=RUNTIME
        )
    checkpoint = world.classifier(labels)
    words = Tokenizer.load(world.encoders.tokenizer().path)
    again = PretrainConfig(start=FromCheckpoint(checkpoint.ref), context_length=8)
    with pytest.raises(ConfigError, match="names a classifier"):
        resolve_start(again, vocabulary=words, root=world.root)
    with pytest.raises(ArtifactError, match="is no classifier"):
        world.report(world.encoders.encoder(), labels)
    with pytest.raises(ArtifactError, match="other labels cannot be compared"):
        world.report(checkpoint, world.labels("word"))
    with pytest.raises(ArtifactError, match="is a classifier"):
        evaluate_masked(
            MEASURED, checkpoint, world.encoders.tokenizer(), world.encoders.eval_set(),
            root=world.root, runtime=RUNTIME,
        )  # fmt: skip
    bad = world.root / "bad.jsonl"
    bad.write_text('{"text": "a", "label": "x"}\n{"texts": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 of 2 rows cannot be used"):
        world.prepared(LabelFiles(paths=(str(bad),)), "bad")


def test_figures_are_those_of_scikit_learn_and_do_not_depend_on_batching() -> None:
    rng = np.random.default_rng(0)
    expected, predicted = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    expected[expected == 1] = 0  # a label that does not occur
    scored = Predictions(
        tuple(f"t{i}" for i in range(100)), np.repeat(np.arange(100), 2), np.tile([0, 1], 100),
        expected, predicted, np.ones(200, np.float32), ("a", "b", "c", "d"),
    )  # fmt: skip
    found = summarise_classes(scored, Counter(a=3, c=2), level="word", draws=200, seed=0)
    assert found["accuracy"] == pytest.approx(accuracy_score(expected, predicted))
    theirs = f1_score(expected, predicted, labels=[0, 2], average="macro")
    assert found["macro_f1"] == pytest.approx(theirs)
    assert found["majority"]["label"] == "a"
    always = f1_score(expected, np.zeros(200), labels=[0, 2], average="macro", zero_division=0)
    assert found["majority"]["macro_f1"] == pytest.approx(always)
    assert found["macro_f1_low"] < theirs < found["macro_f1_high"]


def test_answers_are_the_same_alone_and_in_company(world: LabelWorld) -> None:
    labels = world.labels("word")
    model = load_model(world.classifier(labels).path / "final").eval()
    words = Tokenizer.load(world.encoders.tokenizer().path)
    texts = [["the", "cat"], ["a"] * 40, ["saw"]]
    together = probabilities(model, words, texts)
    for text, rows in zip(texts, together, strict=True):
        (alone,) = probabilities(model, words, [text])
        assert np.allclose(alone, rows, atol=1e-5)
    assert [len(rows) for rows in together] == [
        2,
        16,
        1,
    ]  # of a, and 39 times " a", 16 begin within 30
    cut = [Labelled("long", tuple(["a"] * 40), tuple(["other"] * 40), "g")]
    scored = score_classes(model, words, cut)
    assert (scored.predicted[16:] == -1).all() and not scored.right[16:].any()


def test_an_exported_classifier_is_transformers_own_and_answers_from_the_registry(
    world: LabelWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = world.labels()
    checkpoint = world.classifier(labels)
    exported = world.exported(checkpoint, world.report(checkpoint, labels))
    assert exported.facts["prompt_form"] == "classify"
    assert exported.facts["max_relative_logit_difference"] <= 1e-5
    hf = exported.hf_path
    theirs = AutoModelForSequenceClassification.from_pretrained(hf).eval()
    ids = AutoTokenizer.from_pretrained(hf)("n900 the oooo is", return_tensors="pt")
    with torch.inference_mode():
        expected = theirs(**ids).logits.softmax(-1)[0].numpy()
    for reference in (checkpoint.ref, str(hf)):
        loaded = load_reference(reference, world.root)
        assert loaded.classifies and not loaded.fills_masks
        (ours,) = probabilities(loaded.model, loaded.tokenizer, [["n900 the oooo is"]])
        assert np.allclose(ours[0], expected, atol=1e-5)
        with pytest.raises(ConfigError, match="is a classifier"):
            loaded.require_decoder("mill serve")
    (best,) = pipeline("text-classification", model=str(hf))("n900 the oooo is")
    assert best["label"] == labels.labels[int(expected.argmax())] == "round"
    card = (hf / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification" in card and "always `" in card

    done = register(
        RegistryConfig(name="enc"), exported, world.report(checkpoint, labels), labels,
        root=world.root, runtime=RUNTIME,
    )  # fmt: skip
    assert done.name == "enc-things" and done.promoted and "'text'" in done.one_liner
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{world.root / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/enc-things@champion")
    answer = served.predict({"text": ["n900 the oooo is", "n901 the xxxx is"]})
    assert [one["label"] for one in answer["choices"]] == ["round", "crossed"]
    first = answer["choices"][0]
    assert first["scores"] == pytest.approx(
        dict(zip(labels.labels, expected.tolist(), strict=True)), abs=1e-5
    )
    with pytest.raises(mlflow.MlflowException, match="empty text"):
        served.predict({"text": " "})
    from flows.commands.models import chat_with

    capsys.readouterr()
    chat_with(checkpoint.ref, once="n900 the oooo is", temperature=0.0, top_k=None, top_p=None,
              max_tokens=1, seed=0, root=world.root)  # fmt: skip
    assert capsys.readouterr().out.splitlines()[0].endswith("  round")


def test_words_are_labelled_from_the_registry_as_by_us_and_only_the_better_is_promoted(
    world: LabelWorld,
) -> None:
    labels = world.labels("word")

    def registered(config: ClassifyConfig) -> tuple[Checkpoint, bool, str]:
        checkpoint = world.classifier(labels, config)
        report = world.report(checkpoint, labels)
        done = register(
            RegistryConfig(name="w"), world.exported(checkpoint, report), report, labels,
            root=world.root, runtime=RUNTIME,
        )  # fmt: skip
        return checkpoint, done.promoted, done.reason

    weak = replace(TRAINING, horizon=Steps(2))
    assert registered(weak)[1]
    strong, promoted, reason = registered(TRAINING)
    assert promoted and "better than the champion: accuracy" in reason
    assert not registered(replace(weak, seed=1))[1]
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{world.root / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/w-things@champion")
    (choice,) = served.predict({"text": "n900 the oooo is"})["choices"]
    found = [(one["word"], one["label"]) for one in choice["words"]]
    model = load_model(strong.path / "final").eval()
    assert isinstance(model.config, BertClassifierConfig)
    units = "n900 the oooo is".split()
    (rows,) = probabilities(model, Tokenizer.load(world.encoders.tokenizer().path), [units])
    ours = [model.config.labels[int(i)] for i in rows.argmax(axis=1)]
    assert found == list(zip(units, ours, strict=True)) and ours[2] == "round"
    assert [one["score"] for one in choice["words"]] == pytest.approx(
        rows.max(axis=1).tolist(), abs=1e-5
    )
    given = served.predict([{"words": units}])["choices"][0]
    assert given["words"] == choice["words"]
