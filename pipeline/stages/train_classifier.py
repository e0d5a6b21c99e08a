"""An encoder and labels -> a classifier of texts or of words.

    classify/<fp>/  final/{model.safetensors, model.json}  curve.jsonl  facts.json

The loop is pre-training's: a target is the number of a label instead of that of a token.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.bert_classifier import classifier_of
from pipeline.artifacts import Checkpoint, LabelSet, TrainedTokenizer
from pipeline.conversations.splits import Split
from pipeline.labels.example import read_labelled
from pipeline.labels.rows import write_rows
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.build import train_artifact
from pipeline.training.classifying import ClassifyConfig, starting_encoder
from pipeline.training.config import num_steps
from pipeline.training.devices import resolve_dtype
from pipeline.training.job import TrainingJob
from pipeline.training.start import Start

VERSION = 1


def train_classifier(
    config: ClassifyConfig,
    base: Checkpoint,
    labels: LabelSet,
    tokenizer: TrainedTokenizer,
    *,
    root: Path,
    runtime: Runtime,
) -> Checkpoint:
    """Train `base`, or what `config.start` names, to tell the labels apart.

    ConfigError where that is no encoder, or tokenizer or context do not fit it.
    """
    vocabulary = Tokenizer.load(tokenizer.path)
    encoder, start = starting_encoder(config, base, tokenizer, root=root)
    length = config.context_length or encoder.context_length
    model = classifier_of(encoder, labels.labels, labels.facts["level"])
    settings = {**plain(config), "start": start.identity, "context_length": length}
    del settings["micro_batch_rows"]  # same result, less memory
    settings["encoder"] = plain(encoder)
    inputs = [*start.inputs, labels.key, tokenizer.key]
    dtype = resolve_dtype(
        config.dtype,
        identity=["classify", settings, inputs],
        root=root,
        device=runtime.device,
        remember=runtime.may_build,
    )
    key = artifact_key("classify", VERSION, {**settings, "dtype": dtype}, inputs)
    directory = root / "classify" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        (directory / "rows").mkdir(exist_ok=True)
        splits: tuple[Split, ...] = ("train", "validation")
        rows = {
            split: write_rows(
                read_labelled(labels.path / f"{split}.jsonl"), vocabulary,
                directory / "rows" / f"{split}.arrow",
                labels=labels.labels, level=model.level, context_length=length,
                pack=config.packing,
            )
            for split in splits
            if labels.facts["examples"][split]
        }  # fmt: skip
        if "validation" not in rows:
            message = "there are no labels to validate on; the last weights are kept"
            runtime.progress.event("warning", {"message": message})
        job = _job(config, start, tokenizer, directory, runtime, rows=rows, length=length)
        job = replace(job, model=model, digest=key.fingerprint, dtype=dtype)
        facts = {"task": labels.name, "level": model.level, "labels": len(model.labels)}
        outcome = train_artifact(job, runtime, {**facts, "rows": rows})
        seen = outcome.facts["steps"] * job.batch_rows  # patience may have ended the run early
        return replace(outcome, facts={**outcome.facts, "epochs": seen / rows["train"]["rows"]})

    build(key, directory, work, root=root, runtime=runtime, resume=True)
    return Checkpoint(directory, key.fingerprint)


def _job(
    config: ClassifyConfig,
    start: Start,
    tokenizer: TrainedTokenizer,
    directory: Path,
    runtime: Runtime,
    *,
    rows: Mapping[Split, dict[str, Any]],
    length: int,
) -> TrainingJob:
    validation = (str(directory / "rows" / "validation.arrow"),) if "validation" in rows else ()
    return TrainingJob(
        directory=str(directory),
        digest="",
        tokenizer=str(tokenizer.path),
        data="labels",
        train_paths=(str(directory / "rows" / "train.arrow"),),
        validation_paths=validation,
        model=start.model,
        weights=start.weights,
        weights_kind=start.weights_kind,
        context_length=length,
        batch_rows=config.batch_rows,
        micro_batch_rows=config.micro_batch_rows or config.batch_rows,
        steps=num_steps(
            config.horizon,
            rows=rows["train"]["rows"],
            batch_rows=config.batch_rows,
            context_length=length,
        ),
        optimizer=config.optimizer,
        schedule=config.schedule,
        dropout=config.dropout,
        grad_clip=config.grad_clip,
        seed=config.seed,
        dtype="float32",
        validation_every=config.validation_every,
        validation_tokens=config.validation_tokens,
        keep=config.keep if validation else "last",
        patience=config.patience if validation else None,
        max_skipped_in_row=config.max_skipped_in_row,
        prompts=(),
        sample_tokens=1,
        answer_prompts=False,
        device=runtime.device,
        compile=runtime.compile,
        threads=runtime.threads,
        log_every_seconds=runtime.log_every_seconds,
        checkpoint_every_seconds=runtime.checkpoint_every_seconds,
        checkpoints_kept=runtime.checkpoints_kept,
        milestone_steps=runtime.milestone_steps,
        distribution=runtime.distribution,
    )
