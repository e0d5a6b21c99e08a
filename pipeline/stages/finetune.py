"""A base checkpoint and prompt/answer examples -> a tuned checkpoint.

    finetune/<fp>/  final/{model.safetensors, model.json}  curve.jsonl  samples.jsonl  facts.json

The rows carry the mask (answer and eos are trained, nothing else); the loop is pre-training's.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from model.architectures import AnyModel
from model.lora import largest_rank
from model.objectives import AnswerPairs, CausalLM
from pipeline.artifacts import Checkpoint, ExampleSet, TokenShards, TrainedTokenizer
from pipeline.conversations.example import Example, Message, read_examples
from pipeline.conversations.packing import write_rows
from pipeline.conversations.replay import Replay
from pipeline.conversations.template import question_ids
from pipeline.evals.coverage import DIVERSITY, choose_examples
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.shards import shard_paths
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.build import train_artifact
from pipeline.training.config import FinetuneConfig, num_steps
from pipeline.training.devices import resolve_dtype
from pipeline.training.job import TrainingJob
from pipeline.training.sampling import prompt_room
from pipeline.training.start import stored_architecture

VERSION = 4
DEFAULT_PROMPTS = 4  # questions taken from the validation examples when the config names none
LOOKED_AT = 100  # examples among which questions that fit are sought


def finetune(
    config: FinetuneConfig,
    base: Checkpoint,
    examples: ExampleSet,
    tokenizer: TrainedTokenizer,
    shards: TokenShards | None = None,
    *,
    root: Path,
    runtime: Runtime,
) -> Checkpoint:
    """Tune `base` on `examples`; ConfigError when tokenizer or context do not fit the base.

    `shards` are the text of `config.replay` and nothing else: without it they are no input.
    """
    model = stored_architecture(base)
    if model.attention == "encoder-decoder":
        _check_pairs(config, base, examples)
    if model.attention == "bidirectional":
        raise ConfigError(
            f"{base.ref} is an encoder, which answers nothing; leave the sections finetune and "
            "examples out and set pretrain.objective: {kind: masked}"
        )
    length = config.context_length or model.context_length
    _check(base, tokenizer, model, length)
    _check_rank(config, model)
    settings = {**plain(config), "context_length": length}
    inputs = [base.key, examples.key, tokenizer.key]
    replay = _replay(config, shards, tokenizer)
    if replay is not None and shards is not None:
        inputs.append(shards.key)
    dtype = resolve_dtype(
        config.dtype,
        identity=["finetune", settings, inputs],
        root=root,
        device=runtime.device,
        remember=runtime.may_build,
    )
    key = artifact_key("finetune", VERSION, {**settings, "dtype": dtype}, inputs)
    directory = root / "finetune" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        (directory / "rows").mkdir(exist_ok=True)
        train, diversity = choose_examples(
            examples,
            base,
            tokenizer,
            directory / "rows",
            most_diverse=config.most_diverse,
            seed=config.seed,
            device=runtime.device,
        )
        os.replace(directory / "rows" / DIVERSITY, directory / DIVERSITY)
        sources = {"train": train, "validation": examples.path / "validation.jsonl"}
        rows = _write_rows(config, sources, tokenizer, directory / "rows", length, runtime, replay)
        job = _job(config, base, model, tokenizer, directory, runtime, rows=rows, length=length)
        job = replace(job, digest=key.fingerprint, dtype=dtype)
        job = _with_questions(job, config, examples, tokenizer)
        outcome = train_artifact(job, runtime, {"diversity": diversity, "examples": rows})
        seen = outcome.facts["steps"] * job.batch_rows  # patience may have ended the run early
        return replace(outcome, facts={**outcome.facts, "epochs": seen / rows["train"]["rows"]})

    build(key, directory, work, root=root, runtime=runtime, resume=True)
    return Checkpoint(directory, key.fingerprint)


def _check(base: Checkpoint, tokenizer: TrainedTokenizer, model: AnyModel, length: int) -> None:
    if length > model.context_length:
        raise ConfigError(
            f"finetune.context_length={length} exceeds the base model's {model.context_length}; "
            "lower it, or pretrain with a longer context"
        )
    if tokenizer.ref not in base.manifest.inputs:
        raise ConfigError(
            f"{base.ref} was not trained with {tokenizer.ref}; use the tokenizer of the base model"
        )


def _check_pairs(config: FinetuneConfig, base: Checkpoint, examples: ExampleSet) -> None:
    """An encoder-decoder learns pairs: nothing that only rows of running text have."""
    if config.replay:
        raise ConfigError(
            f"finetune.replay={config.replay:g} is not there for {base.ref}, an encoder-decoder; "
            "leave it out"
        )
    for example in read_examples(examples.path / "train.jsonl"):
        if example.messages:
            raise ConfigError(
                f"{examples.ref} holds conversations; {base.ref}, an encoder-decoder, is tuned on "
                "pairs of prompt and answer"
            )


def _check_rank(config: FinetuneConfig, model: AnyModel) -> None:
    if config.lora is None:
        return
    largest = largest_rank(model.build_empty(device="meta"))
    if config.lora.rank > largest:
        raise ConfigError(
            f"finetune.lora.rank={config.lora.rank} exceeds {largest}, the smaller side of the "
            "model's smallest matrix; lower it, or train all weights (lora: null)"
        )


def _replay(
    config: FinetuneConfig, shards: TokenShards | None, tokenizer: TrainedTokenizer
) -> Replay | None:
    if not config.replay:
        return None
    if shards is None:
        raise ConfigError(
            f"finetune.replay={config.replay:g} needs the pretraining text; give finetune its "
            "token shards, or set it to 0"
        )
    if shards.facts["tokenizer_sha256"] != Tokenizer.load(tokenizer.path).sha256:
        raise ConfigError(f"{shards.ref} was not made with {tokenizer.ref}; tokenize it again")
    return Replay(tuple(shard_paths(shards, "train")), config.replay, config.seed)


def _write_rows(
    config: FinetuneConfig,
    sources: Mapping[str, Path],
    tokenizer: TrainedTokenizer,
    directory: Path,
    length: int,
    runtime: Runtime,
    replay: Replay | None,
) -> dict[str, Any]:
    """Pack the training and validation examples; counts per split."""
    vocabulary = Tokenizer.load(tokenizer.path)
    facts: dict[str, Any] = {}
    for split, source in sources.items():
        if split == "validation" and next(iter(read_examples(source)), None) is None:
            _warn_unvalidated("there are no validation examples", runtime)
            continue
        try:
            facts[split] = write_rows(
                source,
                vocabulary,
                directory / f"{split}.arrow",
                context_length=length,
                policy=config.long_examples,
                pack=config.packing,
                train_on=config.train_on,
                replay=replay if split == "train" else None,
            )
        except DataError as error:
            # Validation only chooses among weights: without a row that fits, training goes on.
            if split == "train" or config.long_examples == "error":
                raise
            _warn_unvalidated(f"validation: {error}", runtime)
    return facts


def _warn_unvalidated(reason: str, runtime: Runtime) -> None:
    runtime.progress.event("warning", {"message": f"{reason}; the last weights are kept"})


def _with_questions(
    job: TrainingJob, config: FinetuneConfig, examples: ExampleSet, tokenizer: TrainedTokenizer
) -> TrainingJob:
    """The job with the questions it answers on the way, asked in the form that is trained.

    Unless the config names some, they are validation examples that leave room for an answer.
    """
    vocabulary = Tokenizer.load(tokenizer.path)
    if config.prompts:
        chat = _has_conversations(examples)
        asked = [_question(prompt, chat=chat) for prompt in config.prompts]
        texts = config.prompts
    else:
        room = prompt_room(job.context_length, job.sample_tokens)
        asked = _questions(examples, vocabulary, room)
        texts = tuple(example.question for example in asked)
    ids = tuple(tuple(question_ids(example, vocabulary)) for example in asked)
    return replace(job, prompts=texts, prompt_ids=ids)


def _question(prompt: str, *, chat: bool) -> Example:
    turns = (Message("user", prompt),) if chat else ()
    return Example(id="", prompt=prompt, answer="", messages=turns)


def _has_conversations(examples: ExampleSet) -> bool:
    """Most of what is trained are conversations, as far as the beginning tells."""
    first = list(islice(read_examples(examples.path / "train.jsonl"), 100))
    return sum(bool(example.messages) for example in first) > len(first) / 2


def _questions(examples: ExampleSet, vocabulary: Tokenizer, room: int) -> list[Example]:
    """Those of the validation split, or of the training split where that one is empty."""
    found: list[Example] = []
    for split in ("validation", "train"):
        found += islice(read_examples(examples.path / f"{split}.jsonl"), LOOKED_AT)
        if found:
            break
    fitting = [example for example in found if len(question_ids(example, vocabulary)) <= room]
    return (fitting or found)[:DEFAULT_PROMPTS]


def _job(
    config: FinetuneConfig,
    base: Checkpoint,
    model: AnyModel,
    tokenizer: TrainedTokenizer,
    directory: Path,
    runtime: Runtime,
    *,
    rows: Mapping[str, Any],
    length: int,
) -> TrainingJob:
    validation = (str(directory / "rows" / "validation.arrow"),) if "validation" in rows else ()
    return TrainingJob(
        directory=str(directory),
        digest="",
        tokenizer=str(tokenizer.path),
        data="rows",
        objective=AnswerPairs() if model.attention == "encoder-decoder" else CausalLM(),
        train_paths=(str(directory / "rows" / "train.arrow"),),
        validation_paths=validation,
        model=model,
        weights=str(base.weights_path.parent),
        weights_kind="ours",
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
        grad_clip=config.grad_clip,
        seed=config.seed,
        dtype="float32",
        validation_every=config.validation_every,
        validation_tokens=config.validation_tokens,
        keep=config.keep,
        patience=config.patience if validation else None,
        max_skipped_in_row=config.max_skipped_in_row,
        prompts=config.prompts,
        sample_tokens=config.sample_tokens,
        answer_prompts=True,
        lora=config.lora,
        embedding_noise=config.embedding_noise,
        device=runtime.device,
        compile=runtime.compile,
        threads=runtime.threads,
        log_every_seconds=runtime.log_every_seconds,
        checkpoint_every_seconds=runtime.checkpoint_every_seconds,
        checkpoints_kept=runtime.checkpoints_kept,
        milestone_steps=runtime.milestone_steps,
        distribution=runtime.distribution,
    )
