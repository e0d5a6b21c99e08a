"""A model by reference, ready to answer.

pretrain@3fa9  finetune@3fa9  export@3fa9      an artifact under the root (4 digits or more)
models:/NAME@champion  models:/NAME/3          a registered version
./path                                         an artifact or a Hugging Face directory
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.architectures import BertClassifierConfig
from model.checkpoint_io import load_model as load_weights
from model.encoder_decoder import EncoderDecoder
from model.errors import WeightsError
from model.huggingface import import_weights
from model.language_model import LanguageModel
from pipeline.artifacts import (
    DIRECTORIES,
    Artifact,
    Checkpoint,
    ExportedModel,
    TrainedTokenizer,
    open_artifact,
    seek_artifact,
)
from pipeline.serving.forms import MessageForm, PromptForm, forms_of, stop_ids
from pipeline.serving.hf_tokenizer import HuggingFaceTokenizer
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json
from pipeline.store.manifest import is_finished
from pipeline.tokens.tokenizer import MASK, Tokenizer
from pipeline.tracking.config import TrackingConfig

MODEL_STAGES = ("pretrain", "finetune", "classify", "export")
MIN_DIGITS = 4


@dataclass(frozen=True)
class LoadedModel:
    """Weights, tokenizer, and the form prompts take."""

    model: LanguageModel
    tokenizer: Tokenizer | HuggingFaceTokenizer
    description: str
    """One line for people: where it comes from, how large it is."""
    prompt_form: PromptForm
    message_form: MessageForm = "pair"
    name: str = "model"
    """A short id, as the HTTP API shows it."""

    @property
    def stop_ids(self) -> list[int]:
        """The ids that end an answer."""
        return stop_ids(self.tokenizer, self.prompt_form)

    @property
    def fills_masks(self) -> bool:
        """Whether it is an encoder: it finds masked tokens and continues nothing."""
        return bool(self.model.config.attention == "bidirectional") and not self.classifies

    @property
    def classifies(self) -> bool:
        """Whether it names the class of a text, or of its words."""
        return isinstance(self.model.config, BertClassifierConfig)

    @property
    def writes_targets(self) -> bool:
        """Whether it is an encoder-decoder: it writes a target for a source."""
        return isinstance(self.model, EncoderDecoder)

    def require_decoder(self, command: str) -> None:
        """ConfigError for an encoder where text is to be continued."""
        if self.writes_targets:
            raise ConfigError(
                f"{self.name} is an encoder-decoder, which {command} cannot use yet: it writes a "
                f'target for a source; ask it with mill chat {self.name} --once "..."'
            )
        if self.classifies:
            raise ConfigError(
                f"{self.name} is a classifier, which {command} cannot use: it continues nothing; "
                f'ask it with mill chat {self.name} --once "..."'
            )
        if self.fills_masks:
            raise ConfigError(
                f"{self.name} is an encoder, which {command} cannot use: it continues nothing; ask "
                f'it with mill chat {self.name} --once "... {MASK} ..."'
            )

    @property
    def context_length(self) -> int:
        """Prompt and answer together have at most this many tokens."""
        return int(self.model.config.context_length)


def load_model(
    reference: str,
    root: Path,
    *,
    device: torch.device | str = "cpu",
    tracking: TrackingConfig | None = None,
) -> LoadedModel:
    """Load what `reference` names.

    ConfigError if it names nothing, ArtifactError if what it names is damaged or not a model.
    """
    if reference.startswith("models:/"):
        from pipeline.tracking.referring import model_directory, parsed  # mlflow: a second

        hf, label = model_directory(reference, root=root, tracking=tracking)
        return _from_directory(hf, label, device, name=parsed(reference)[0])
    artifact = artifact_named(reference, root)
    if isinstance(artifact, Checkpoint):
        # An artifact given by path brings its own root.
        return _from_checkpoint(artifact, artifact.root, device)
    if isinstance(artifact, ExportedModel):
        return _from_directory(artifact.hf_path, artifact.ref, device)
    if artifact is not None:
        raise ConfigError(
            f"{artifact.ref} is not a model; use one of {', '.join(MODEL_STAGES)}, such as "
            f"finetune@{artifact.fingerprint[:4]}"
        )
    directory = Path(reference)
    if (directory / "config.json").is_file():
        return _from_directory(directory, str(directory), device)
    raise ConfigError(
        f"{reference!r} names no model; use STAGE@FINGERPRINT ({', '.join(MODEL_STAGES)}) of an "
        f"artifact under {root}, models:/NAME@champion, or a directory with config.json"
    )


def artifact_named(reference: str, root: Path) -> Artifact | None:
    """The artifact that `STAGE@DIGITS` or a directory means; None where it means another thing.

    ConfigError for digits that fit none or several, or a stage that makes no model.
    """
    directory = Path(reference)
    if is_finished(directory):
        return open_artifact(directory)
    stage, _, digits = reference.rpartition("@")
    if not stage or "/" in reference:
        return None
    if stage not in MODEL_STAGES:
        raise ConfigError(f"{reference!r} is not a model; use one of {', '.join(MODEL_STAGES)}")
    if len(digits) < MIN_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise ConfigError(
            f"{reference!r}: give at least {MIN_DIGITS} hex digits of the fingerprint"
        )
    home = root / DIRECTORIES.get(stage, stage)
    found = sorted(path for path in home.glob(f"{digits[:12]}*") if is_finished(path))
    found = [path for path in found if open_artifact(path).fingerprint.startswith(digits)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{reference!r} fits {names} under {home}; give more digits")
    if not found:
        there = ", ".join(sorted(p.name for p in home.glob("*") if is_finished(p))) or "nothing"
        raise ConfigError(f"{reference!r} is not under {home}, which holds {there}")
    return open_artifact(found[0])


def _from_checkpoint(checkpoint: Checkpoint, root: Path, device: torch.device | str) -> LoadedModel:
    tokenizers = [ref for ref in checkpoint.manifest.inputs if ref.startswith("tokenizer@")]
    artifact = seek_artifact(root, tokenizers[0]) if tokenizers else None
    if not isinstance(artifact, TrainedTokenizer):
        raise ArtifactError(
            f"{checkpoint.ref} was trained with {', '.join(tokenizers) or 'an unnamed tokenizer'}, "
            f"which is not under {root}; rerun the tokenizer stage there"
        )
    try:
        model = load_weights(checkpoint.weights_path.parent, device=device).eval()
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be loaded: {error}") from error
    prompt_form, message_form = forms_of(checkpoint, root)
    return LoadedModel(
        model, Tokenizer.load(artifact.path), _described(checkpoint.ref, model), prompt_form,
        message_form, checkpoint.ref,
    )  # fmt: skip


def _from_directory(
    directory: Path, label: str, device: torch.device | str, *, name: str | None = None
) -> LoadedModel:
    try:
        model = import_weights(directory, device=device).eval()
    except WeightsError as error:
        raise ArtifactError(f"{label} cannot be loaded: {error}") from error
    tokenizer = HuggingFaceTokenizer.load(directory)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ArtifactError(
            f"{label}: the tokenizer has {tokenizer.vocab_size} ids, the model only "
            f"{model.config.vocab_size}; they do not belong together"
        )
    facts: dict[str, Any] = {}
    if (directory / "gristmill.json").is_file():
        facts = read_json(directory / "gristmill.json")
    return LoadedModel(
        model, tokenizer, _described(label, model), facts.get("prompt_form", "continue"),
        facts.get("message_form", "pair"), name or facts.get("name", directory.resolve().name),
    )  # fmt: skip


def _described(label: str, model: LanguageModel) -> str:
    config = model.config
    return (
        f"{label}: {model.num_parameters():,} parameters, vocabulary {config.vocab_size:,}, "
        f"context {config.context_length:,} tokens"
    )
