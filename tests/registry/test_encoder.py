"""An encoder from report to shelf: measured, exported, loaded by others, promoted or not."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from model.architectures import BertConfig
from model.checkpoint_io import load_model, save_model
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExportedModel, TrainedTokenizer
from pipeline.evals.pseudo_perplexity import LABEL, score_masked
from pipeline.serving.loading import load_model as load_reference
from pipeline.stages.evaluate_masked import MaskedEvaluationConfig, evaluate_masked
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.stages.register import RegistryConfig, register
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json
from pipeline.store.fingerprint import short
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import Tokenizer, with_more_specials, with_our_specials
from pipeline.training.filling import masked_ids
from tests.registry.worlds import PATTERN, RUNTIME

TEXTS = {"a": "The cat sat on the mat.", "b": "x" * 100, "c": "Numbers: 1 2 3 4 5."}
MEASURED = MaskedEvaluationConfig(max_places=40, prompts=("The <|mask|>at",), window=24)
SHAPE = BertConfig(vocab_size=264, context_length=32, width=16, layers=1, heads=2, hidden_width=32)


@dataclass
class EncoderWorld:
    """A byte tokenizer with a mask, held-out text, and encoders by seed."""

    root: Path

    def made(self, stage: str, home: str, config: dict[str, object], inputs: list[str],
             work: object) -> Path:  # fmt: skip
        key = artifact_key(stage, 1, config, inputs)
        name = str(config.get("name") or short(key.fingerprint))
        return build(key, self.root / home / name, work, root=self.root, runtime=RUNTIME)  # type: ignore[arg-type]

    def eval_set(self) -> EvalSet:
        def work(directory: Path) -> Outcome:
            table = pa.table({"doc_id": list(TEXTS), "text": list(TEXTS.values()),
                              "source": ["s"] * len(TEXTS)})  # fmt: skip
            with pa.ipc.new_file(str(directory / "documents.arrow"), table.schema) as writer:
                writer.write_table(table)
            return Outcome()

        return EvalSet.open(self.made("eval_set", "eval-sets", {"name": "held-out"}, [], work))

    def tokenizer(self) -> TrainedTokenizer:
        plain = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)})
        tokenizer = with_more_specials(plain, (), mask=True)

        def work(directory: Path) -> Outcome:
            tokenizer.save(directory)
            write_huggingface(tokenizer, directory / "hf")
            return Outcome({"vocab_size": tokenizer.vocab_size})

        return TrainedTokenizer.open(self.made("tokenizer", "tokenizer", {}, [], work))

    def encoder(self, seed: int = 0, scale: float = 1.0) -> Checkpoint:
        """Random weights; the smaller the scale, the nearer to uniform predictions."""

        def work(directory: Path) -> Outcome:
            model = SHAPE.build(seed=seed)
            with torch.no_grad():
                model.embedding.weight.mul_(scale * 20)
            save_model(model, directory / "final")
            return Outcome({"steps": 3, "num_parameters": model.num_parameters()})

        settings: dict[str, object] = {"seed": seed, "scale": scale}
        inputs = [self.tokenizer().key]
        return Checkpoint.open(self.made("pretrain", "pretrain", settings, inputs, work))

    def report(self, checkpoint: Checkpoint) -> EvalReport:
        return evaluate_masked(
            MEASURED, checkpoint, self.tokenizer(), self.eval_set(), root=self.root,
            runtime=RUNTIME,
        )  # fmt: skip

    def exported(self, checkpoint: Checkpoint) -> ExportedModel:
        return export_model(
            ExportConfig(), checkpoint, self.tokenizer(), self.report(checkpoint), root=self.root,
            runtime=RUNTIME,
        )  # fmt: skip


@pytest.fixture
def encoders(tmp_path: Path) -> EncoderWorld:
    return EncoderWorld(tmp_path)


def test_each_hidden_token_is_scored_alone_in_its_window(encoders: EncoderWorld) -> None:
    model = load_model(encoders.encoder().path / "final").eval()
    words = Tokenizer.load(encoders.tokenizer().path)
    text = TEXTS["a"]
    scored = score_masked(model, words, ["a"], [text], max_places=1000, window=32, seed=0)
    assert scored.tokens.tolist() == words.encode(text) and scored.tokens_in_all == len(text)
    for place in range(len(text)):
        ids = [words.bos, *words.encode(text), words.eos]
        ids[place + 1] = words.mask
        logits = model(torch.tensor([ids]))[0, place + 1]
        expected = F.cross_entropy(logits, torch.tensor(words.encode(text)[place])).item()
        assert scored.nats[place] == pytest.approx(expected, abs=1e-5)


def test_places_do_not_depend_on_batching_and_long_documents_are_windowed(
    encoders: EncoderWorld,
) -> None:
    model = load_model(encoders.encoder().path / "final")
    words = Tokenizer.load(encoders.tokenizer().path)
    every = [
        score_masked(model, words, list(TEXTS), list(TEXTS.values()), max_places=50, window=24,
                     seed=1, batch_tokens=tokens)
        for tokens in (1, 10_000)
    ]  # fmt: skip
    assert np.array_equal(every[0].places, every[1].places) and len(every[0].places) == 50
    assert np.allclose(every[0].nats, every[1].nats, atol=1e-5)
    assert set(every[0].documents.tolist()) == {0, 1, 2}
    middle = score_masked(model, words, ["b"], [TEXTS["b"]], max_places=100, window=24, seed=1)
    assert np.allclose(middle.nats[30:60], middle.nats[40], atol=1e-5)  # x in a sea of x


def test_report_never_calls_its_figure_perplexity(encoders: EncoderWorld) -> None:
    report = encoders.report(encoders.encoder())
    content = read_json(report.path / "report.json")
    masked = content["masked"]
    assert masked["label"] == LABEL and masked["comparable_with_perplexity"] is False
    assert masked["pseudo_perplexity"] == pytest.approx(math.exp(masked["nats_per_token"]))
    assert masked["nats_per_token_low"] <= masked["nats_per_token"] <= masked["nats_per_token_high"]
    assert not {"token_perplexity", "bits_per_byte", "perplexity"} & set(report.facts)
    assert len(content["examples"][0]["candidates"][0]) == 5


def test_export_is_what_transformers_calls_a_fill_mask_model(encoders: EncoderWorld) -> None:
    exported = encoders.exported(encoders.encoder())
    assert exported.facts["prompt_form"] == "fill"
    assert exported.facts["max_relative_logit_difference"] <= 1e-5
    names = {path.name for path in exported.hf_path.iterdir()}
    assert names == {"README.md", "config.json", "gristmill.json", "model.safetensors",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
    words = Tokenizer.load(encoders.tokenizer().path)
    theirs = AutoTokenizer.from_pretrained(exported.hf_path)
    assert theirs("ab").input_ids == [words.bos, ord("a"), ord("b"), words.eos]
    assert theirs("a <|mask|> b").input_ids == masked_ids(words, "a <|mask|> b")
    pair = theirs("a", "b")
    assert pair.input_ids == [words.bos, ord("a"), words.eos, ord("b"), words.eos]
    assert pair.token_type_ids == [0, 0, 0, 1, 1]
    found = pipeline("fill-mask", model=str(exported.hf_path), top_k=3)("The <|mask|>at")
    assert len(found) == 3
    card = (exported.hf_path / "README.md").read_text()
    assert "pipeline_tag: fill-mask" in card and "not comparable with perplexity" in card
    assert "An encoder of" in card
    model = AutoModelForMaskedLM.from_pretrained(exported.hf_path)
    assert type(model).__name__ == "BertForMaskedLM"


def test_an_encoder_is_loaded_asked_and_refused_where_text_is_continued(
    encoders: EncoderWorld,
) -> None:
    checkpoint = encoders.encoder()
    exported = encoders.exported(checkpoint)
    for reference in (checkpoint.ref, str(exported.hf_path)):
        loaded = load_reference(reference, encoders.root)
        assert loaded.fills_masks and loaded.tokenizer.mask == 263
        with pytest.raises(ConfigError, match="continues nothing"):
            loaded.require_decoder("mill serve")


def test_a_champion_gives_way_only_to_fewer_nats_on_the_same_tokens(
    encoders: EncoderWorld,
) -> None:
    config = RegistryConfig(name="encoder")

    def registered(checkpoint: Checkpoint) -> tuple[bool, str]:
        done = register(
            config, encoders.exported(checkpoint), encoders.report(checkpoint),
            encoders.eval_set(), root=encoders.root, runtime=RUNTIME,
        )  # fmt: skip
        assert done.name == "encoder" and "<|mask|>" in done.one_liner
        return done.promoted, done.reason

    bad, good = encoders.encoder(scale=5.0), encoders.encoder(scale=0.01)
    assert registered(bad)[0]
    promoted, reason = registered(good)
    assert promoted and "nats per hidden token" in reason
    promoted, reason = registered(encoders.encoder(seed=1))
    assert not promoted and "not better than the champion" in reason
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{encoders.root / 'mlflow.db'}")
    answer = mlflow.pyfunc.load_model("models:/encoder@champion").predict(
        {"prompt": "The <|mask|>at <|mask|>", "top_k": 2}
    )
    assert answer["object"] == "fill_mask"
    (choice,) = answer["choices"]
    assert [len(place) for place in choice["masks"]] == [2, 2]
    assert choice["text"].startswith("The") and "<|mask|>" not in choice["text"]
    with pytest.raises(mlflow.MlflowException, match="masks nothing"):
        mlflow.pyfunc.load_model("models:/encoder@champion").predict({"prompt": "no gap"})


def test_a_decoder_is_not_measured_as_an_encoder(
    encoders: EncoderWorld,
) -> None:
    from tests.registry.worlds import World

    decoder = World(encoders.root).base()
    with pytest.raises(ArtifactError, match="is a decoder"):
        encoders.report(decoder)
