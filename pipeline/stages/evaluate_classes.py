"""What a classifier is worth: how often it is right on held-out text, beside the majority.

report.json           classes
predictions.arrow     one row per target, for paired comparison
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from model.architectures import BertClassifierConfig
from model.checkpoint_io import load_model
from model.errors import WeightsError
from model.language_model import LanguageModel
from pipeline.artifacts import Checkpoint, EvalReport, LabelSet, TrainedTokenizer
from pipeline.evals.classification import score_classes, summarise_classes, write_predictions
from pipeline.labels.example import read_labelled
from pipeline.labels.splitting import label_counts
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer

VERSION = 1


class ClassesEvaluationConfig(BaseModel):
    """How a classifier is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap_draws: int = Field(
        1_000, title="Bootstrap draws", description="resamples of the texts for the intervals",
        ge=100, le=100_000,
    )  # fmt: skip
    seed: int = Field(0, title="Seed", description="draws the resamples", ge=0)


def evaluate_classes(
    config: ClassesEvaluationConfig,
    checkpoint: Checkpoint,
    tokenizer: TrainedTokenizer,
    labels: LabelSet,
    *,
    root: Path,
    runtime: Runtime,
) -> EvalReport:
    """Measure a classifier in float32 on the held-out split of `labels`.

    ArtifactError for a checkpoint that is no classifier, or of other labels.
    """
    inputs = [checkpoint.key, tokenizer.key, labels.key]
    key = artifact_key("evaluate", VERSION, {"classes": plain(config)}, inputs)
    directory = root / "eval" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        model, words = _open(checkpoint, tokenizer, labels, runtime.device)
        held_out = list(read_labelled(labels.path / "held_out.jsonl"))
        scored = score_classes(model, words, held_out)
        write_predictions(directory / "predictions.arrow", scored)
        report: dict[str, Any] = {
            "checkpoint": checkpoint.ref,
            "labels": labels.ref,
            "classes": summarise_classes(
                scored, label_counts(read_labelled(labels.path / "train.jsonl")),
                level=labels.facts["level"], draws=config.bootstrap_draws, seed=config.seed,
            ),
        }  # fmt: skip
        write_json(directory / "report.json", report)
        facts = headline(report["classes"])
        runtime.journal.event("evaluated", facts)
        runtime.journal.metrics(
            {k: v for k, v in facts.items() if isinstance(v, int | float)}, step=0
        )
        if report["classes"]["over_majority_low"] <= 0:
            message = (
                f"{labels.name}: the classifier is not better than always saying "
                f"{report['classes']['majority']['label']!r} beyond chance; train longer, or look "
                "at the labels"
            )
            runtime.progress.event("warning", {"message": message})
        return Outcome(facts)

    build(key, directory, work, root=root, runtime=runtime)
    return EvalReport(directory, key.fingerprint)


def headline(classes: dict[str, Any]) -> dict[str, Any]:
    """The figures of report.json that go into the manifest and the tracker."""
    names = ("accuracy", "macro_f1", "examples", "targets")
    majority = {f"majority_{k}": v for k, v in classes["majority"].items() if k != "label"}
    return {**{name: classes[name] for name in names}, **majority}


def _open(
    checkpoint: Checkpoint, tokenizer: TrainedTokenizer, labels: LabelSet, device: str
) -> tuple[LanguageModel, Tokenizer]:
    words = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(checkpoint.weights_path.parent, device=device).eval()
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be loaded: {error}") from error
    config = model.config
    if not isinstance(config, BertClassifierConfig):
        raise ArtifactError(f"{checkpoint.ref} is no classifier; train one with `classify`")
    if set(config.labels) != set(labels.labels) or config.level != labels.facts["level"]:
        raise ArtifactError(
            f"{checkpoint.ref} tells {', '.join(config.labels)} ({config.level}) apart, "
            f"{labels.ref} has {', '.join(labels.labels)} ({labels.facts['level']}); other labels "
            "cannot be compared"
        )
    if words.vocab_size > config.vocab_size:
        raise ArtifactError(
            f"{tokenizer.ref} has {words.vocab_size} ids, the model of {checkpoint.ref} only "
            f"{config.vocab_size}; evaluate it with the tokenizer it was trained with"
        )
    return model, words
