"""What an encoder is worth: how well it finds hidden tokens of held-out text.

report.json         masked, examples
places.arrow        one row per hidden token, for paired comparison
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, Field

from model.architectures import BertClassifierConfig
from model.checkpoint_io import load_model
from model.errors import WeightsError
from model.language_model import LanguageModel
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, TrainedTokenizer
from pipeline.evals.pseudo_perplexity import score_masked, summarise_masked, write_places
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.filling import fill_masks

VERSION = 1


class MaskedEvaluationConfig(BaseModel):
    """How an encoder is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_places: int = Field(
        2_000, ge=1, le=10_000_000, title="Hidden tokens",
        description="drawn from the held-out text; each costs a forward pass of its window",
    )  # fmt: skip
    window: int | None = Field(
        None, ge=8, title="Window",
        description="tokens around a hidden one that the model sees; null: its context",
    )  # fmt: skip
    prompts: tuple[str, ...] = Field(
        (), title="Prompts", description="texts with <|mask|> whose likeliest tokens are shown"
    )
    bootstrap_draws: int = Field(
        1_000, title="Bootstrap draws", description="resamples of the documents for the interval",
        ge=100, le=100_000,
    )  # fmt: skip
    seed: int = Field(0, title="Seed", description="draws the places and the resamples", ge=0)


def evaluate_masked(
    config: MaskedEvaluationConfig,
    checkpoint: Checkpoint,
    tokenizer: TrainedTokenizer,
    eval_set: EvalSet,
    *,
    root: Path,
    runtime: Runtime,
) -> EvalReport:
    """Measure an encoder in float32; the report depends on nothing but its inputs and `config`.

    ArtifactError for a checkpoint that is no encoder or of another vocabulary, ConfigError for a
    window beyond its context, DataError for an empty eval set.
    """
    inputs = [checkpoint.key, tokenizer.key, eval_set.key]
    key = artifact_key("evaluate", VERSION, {"masked": plain(config)}, inputs)
    directory = root / "eval" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        model, words = _open(checkpoint, tokenizer, runtime.device)
        window = config.window or model.config.context_length
        if window > model.config.context_length:
            raise ConfigError(
                f"evaluate_masked.window={window} exceeds the model's context of "
                f"{model.config.context_length}; lower it"
            )
        with pa.memory_map(str(eval_set.documents_path)) as file:
            table = pa.ipc.open_file(file).read_all()
            doc_ids, texts = table["doc_id"].to_pylist(), table["text"].to_pylist()
        if not doc_ids:
            raise DataError(
                f"{eval_set.ref} holds no document; raise eval_set.max_bytes or add documents"
            )
        scored = score_masked(
            model, words, doc_ids, texts,
            max_places=config.max_places, window=window, seed=config.seed,
        )  # fmt: skip
        write_places(directory / "places.arrow", scored)
        report: dict[str, Any] = {
            "checkpoint": checkpoint.ref,
            "eval_set": eval_set.ref,
            "masked": summarise_masked(
                scored, window=window, draws=config.bootstrap_draws, seed=config.seed
            ),
            "examples": _examples(config, model, words),
        }
        write_json(directory / "report.json", report)
        facts = headline(report)
        runtime.journal.event("evaluated", facts)
        runtime.journal.metrics(
            {k: v for k, v in facts.items() if isinstance(v, int | float)}, step=0
        )
        return Outcome(facts)

    build(key, directory, work, root=root, runtime=runtime)
    return EvalReport(directory, key.fingerprint)


def headline(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of report.json that go into the manifest and the tracker, named as what they are.

    Nothing here is called perplexity or bits per byte.
    """
    masked = report["masked"]
    names = ("pseudo_perplexity", "places", "documents", "tokens_in_all")
    return {
        **{name: masked[name] for name in names},
        "masked_nats_per_token": masked["nats_per_token"],
        "masked_accuracy": masked["accuracy"],
    }


def _examples(
    config: MaskedEvaluationConfig, model: LanguageModel, words: Tokenizer
) -> list[dict[str, Any]]:
    return [
        {
            "text": text,
            "candidates": [
                [{"text": c.text, "probability": round(c.probability, 4)} for c in place]
                for place in fill_masks(model, words, text)
            ],
        }
        for text in config.prompts
    ]


def _open(
    checkpoint: Checkpoint, tokenizer: TrainedTokenizer, device: str
) -> tuple[LanguageModel, Tokenizer]:
    words = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(checkpoint.weights_path.parent, device=device).eval()
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be loaded: {error}") from error
    if isinstance(model.config, BertClassifierConfig):
        raise ArtifactError(
            f"{checkpoint.ref} is a classifier and finds no hidden tokens; measure it on labels"
        )
    if model.config.attention != "bidirectional":
        raise ArtifactError(
            f"{checkpoint.ref} is a decoder and finds no hidden tokens; evaluate it with `evaluate`"
        )
    if words.vocab_size > model.config.vocab_size:
        raise ArtifactError(
            f"{tokenizer.ref} has {words.vocab_size} ids, the model of {checkpoint.ref} only "
            f"{model.config.vocab_size}; evaluate it with the tokenizer it was trained with"
        )
    return model, words
