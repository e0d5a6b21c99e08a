"""The weights a run starts from: drawn from the seed, an earlier checkpoint, or Hugging Face."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from model.architectures import (
    AnyModel,
    BertClassifierConfig,
    LanguageModel,
    model_config_from_dict,
)
from model.bert_classifier import with_new_head
from model.checkpoint_io import load_tensors, load_weights
from model.errors import WeightsError
from model.huggingface import import_weights
from model.vocabulary import grow_vocabulary
from pipeline.artifacts import Checkpoint, TrainedTokenizer, parents_of
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import inside, sha256_file
from pipeline.store.fingerprint import digest, plain
from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.tokenizer import Tokenizer, extends
from pipeline.training.config import (
    AnyStart,
    FromCheckpoint,
    HuggingFace,
    PretrainConfig,
    Registered,
    Scratch,
)
from pipeline.training.job import TrainingJob


@dataclass(frozen=True)
class Start:
    """A resolved starting point: where the weights lie, and what enters the fingerprint."""

    model: AnyModel
    weights: str | None
    weights_kind: Literal["ours", "huggingface"]
    identity: dict[str, Any]
    inputs: tuple[str, ...]
    new_ids: int = 0
    """Special tokens of the run's tokenizer that the weights have no rows for yet."""


def resolve_start(config: PretrainConfig, *, vocabulary: Tokenizer, root: Path) -> Start:
    """Find the weights of `config.start`; ConfigError when they do not fit config or tokenizer."""
    vocab_size = vocabulary.vocab_size
    start = config.start
    if isinstance(start, Scratch):
        assert config.model is not None  # PretrainConfig has checked
        model = _filled(config.model, vocab_size=vocab_size, context_length=config.context_length)
        return Start(model, None, "ours", {"kind": "scratch"}, ())
    found = _find(start, root)
    if isinstance(found.model, BertClassifierConfig):
        raise ConfigError(
            "pretrain.start names a classifier, whose head says nothing about tokens; start from "
            "the encoder it was trained from"
        )
    if found.model.vocab_size <= vocabulary.last_rank:
        raise ConfigError(
            f"the weights of pretrain.start have a vocabulary of {found.model.vocab_size}, the "
            f"tokenizer has {vocab_size}, and not only by special tokens; train with the weights' "
            "own tokenizer"
        )
    _check_vocabulary(start, vocabulary, root)
    if config.context_length > found.model.context_length:
        raise ConfigError(
            f"pretrain.context_length={config.context_length} exceeds the "
            f"{found.model.context_length} positions of pretrain.start's weights; lower it"
        )
    if config.model is not None:
        _check_same(config.model, found.model)
    new_ids = max(0, vocab_size - found.model.vocab_size)
    if new_ids:
        grown = replace(found.model, vocab_size=vocab_size)
        found = replace(found, model=grown, new_ids=new_ids)
    return found


def _check_vocabulary(start: AnyStart, vocabulary: Tokenizer, root: Path) -> None:
    """The same number must mean the same text: sizes that agree say nothing about that."""
    if isinstance(start, FromCheckpoint):
        for parent in parents_of(_checkpoint(start, root)):
            if isinstance(parent, TrainedTokenizer):
                theirs = parent.facts.get("sha256")
                if theirs in (None, vocabulary.sha256):
                    continue
                if not extends(vocabulary, Tokenizer.load(parent.path)):
                    raise ConfigError(
                        f"{start.ref} was trained with the tokenizer {theirs[:12]}, this run's is "
                        f"{vocabulary.sha256[:12]} and does not merely add special tokens; train "
                        "with its own tokenizer, or from scratch"
                    )
    if isinstance(start, HuggingFace):
        file = Path(start.path).expanduser() / "tokenizer.json"
        if file.is_file() and (text := _told_apart(file, vocabulary)) is not None:
            raise ConfigError(
                f"pretrain.start.path={start.path} has another tokenizer than this run: they cut "
                f"{text[:40]!r} differently; set tokenizer: {{kind: huggingface, path: "
                f"{start.path}}}, or train from scratch"
            )


def _told_apart(file: Path, vocabulary: Tokenizer) -> str | None:
    """The first of the hard strings that a `tokenizer.json` and our tokenizer cut differently."""
    # Imported here: the training path runs where tokenizers is absent, and needs no such check.
    from tokenizers import Tokenizer as Theirs

    theirs = Theirs.from_file(str(file))
    for text in (data.decode("utf-8") for data in nasty_strings()):
        if "<|" in text:  # theirs takes special tokens from text, ours never does
            continue
        if theirs.encode(text, add_special_tokens=False).ids != vocabulary.encode(text):
            return text
    return None


def _find(start: AnyStart, root: Path) -> Start:
    if isinstance(start, FromCheckpoint):
        checkpoint = _checkpoint(start, root)
        model = stored_architecture(checkpoint)
        folder = str(checkpoint.weights_path.parent)
        return Start(model, folder, "ours", {"kind": "checkpoint"}, (checkpoint.key,))
    if isinstance(start, HuggingFace):
        directory, files = Path(start.path).expanduser(), weight_files(start)
        content = digest({file.name: sha256_file(file) for file in files})
        model = model_config_from_dict(plain(_imported(directory).config))
        return Start(
            model, str(directory), "huggingface", {"kind": "huggingface"}, (f"weights@{content}",)
        )
    assert isinstance(start, Registered)
    raise ConfigError(
        f"pretrain.start names the registered model {start.name}@{start.alias}, which only the "
        "tracking store knows; run through `mill run`, or give {kind: huggingface, path: ...}"
    )


def weight_files(start: HuggingFace) -> list[Path]:
    """config.json and the weights beside it; ConfigError where one or the other is missing."""
    directory = Path(start.path).expanduser()
    files = [directory / "config.json", *sorted(directory.glob("*.safetensors"))]
    if not files[0].is_file() or len(files) < 2:
        raise ConfigError(
            f"pretrain.start.path={start.path} holds no config.json with *.safetensors beside "
            "it; give the directory of a downloaded model"
        )
    return files


def _checkpoint(start: FromCheckpoint, root: Path) -> Checkpoint:
    stage, _, name = start.ref.partition("@")
    if stage not in Checkpoint.stages or not name:
        raise ConfigError(
            f"pretrain.start.ref={start.ref!r} is no checkpoint; write pretrain@<12 digits>"
        )
    return Checkpoint.open(inside(root, root / stage / name[:12]))


def stored_architecture(checkpoint: Checkpoint) -> AnyModel:
    """The architecture of a checkpoint; ArtifactError when its file cannot be read."""
    path = checkpoint.model_config_path
    try:
        return model_config_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} does not describe an architecture: {error}") from error


def starting_model(job: TrainingJob, device: torch.device) -> LanguageModel:
    """The model at step 0, weights float32 on `device`, computing in the job's dtype."""
    if job.weights is None:
        return job.model.build(seed=job.seed, device=device, compute_dtype=job.dtype)
    model = job.model.build_empty(device=device, compute_dtype=job.dtype)
    directory = Path(job.weights)
    try:
        if job.weights_kind == "huggingface":
            tensors = _imported(directory).state_dict()
        else:
            tensors = load_tensors(directory / "model.safetensors")
        tensors = grow_vocabulary(tensors, job.model.vocab_size)
        if isinstance(job.model, BertClassifierConfig):
            tensors = with_new_head(job.model, tensors, seed=job.seed)
        load_weights(model, tensors, where=str(directory))
    except WeightsError as error:
        raise ArtifactError(f"{error}; choose another starting point") from error
    return model


def _imported(directory: Path) -> LanguageModel:
    try:
        return import_weights(directory)
    except WeightsError as error:
        raise ConfigError(f"pretrain.start.path={directory}: {error}") from error


def _filled(model: AnyModel, *, vocab_size: int, context_length: int) -> AnyModel:
    """The architecture with the tokenizer's vocabulary and the run's context.

    A value set by hand must agree: it would be ignored otherwise.
    """
    defaults = {field.name: field.default for field in fields(model)}
    for name, value, where in (
        ("vocab_size", vocab_size, "the tokenizer's vocabulary"),
        ("context_length", context_length, "pretrain.context_length"),
    ):
        given = getattr(model, name)
        if given not in (defaults[name], value):
            raise ConfigError(
                f"pretrain.model.{name}={given} differs from {where}, {value}; leave it out"
            )
    return replace(model, vocab_size=vocab_size, context_length=context_length)


def _check_same(given: AnyModel, found: AnyModel) -> None:
    ours, theirs = plain(given), plain(found)
    for key in sorted(set(ours) | set(theirs)):
        if key in ("vocab_size", "context_length", "init"):
            continue
        if ours.get(key) != theirs.get(key):
            raise ConfigError(
                f"pretrain.model.{key}={ours.get(key)} differs from the starting weights' "
                f"{theirs.get(key)}; leave pretrain.model out to take theirs"
            )
