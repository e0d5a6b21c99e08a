"""The forms of the flows: a preset and some knobs, resolved to one strict RunConfig.

A preset is a file in `flows/configs`; a knob left empty keeps the preset's value.
"""

import os
from pathlib import Path
from typing import Any, Literal

from flows import knobs
from flows.knobs import Form
from pipeline.config import RunConfig, validate
from pipeline.corpus.sources.by_name import kind_of
from pipeline.store.errors import ConfigError
from pipeline.store.settings_file import read_settings

CONFIGS = Path(__file__).resolve().parent / "configs"
Preset = Literal["pydocs", "tiny", "zh", "nightly"]


class Settings(Form):
    """Knobs over the preset. An empty field keeps the preset's value."""

    text_files: knobs.TextFiles = None
    eval_set_name: knobs.EvalSetName = None
    model_name: knobs.ModelName = None
    vocab_size: knobs.VocabSize = None
    context_length: knobs.ContextLength = None
    width: knobs.Width = None
    layers: knobs.Layers = None
    training_tokens: knobs.TrainingTokens = None
    batch_rows: knobs.BatchRows = None
    learning_rate: knobs.LearningRate = None
    finetune_epochs: knobs.FinetuneEpochs = None
    finetune_learning_rate: knobs.FinetuneLearningRate = None
    seed: knobs.Seed = None
    device: knobs.Device = None
    workers: knobs.Workers = None


class CorpusSettings(Form):
    """Knobs of cleaning and tokenizing. An empty field keeps the preset's value."""

    text_files: knobs.TextFiles = None
    eval_set_name: knobs.EvalSetName = None
    vocab_size: knobs.VocabSize = None
    workers: knobs.Workers = None
    only_new: knobs.OnlyNew = None


class NightSettings(Form):
    """Knobs of one night. An empty field keeps the preset's value."""

    text_files: knobs.TextFiles = None
    model_name: knobs.ModelName = None
    batch_rows: knobs.BatchRows = None
    device: knobs.Device = None
    workers: knobs.Workers = None
    replay: knobs.Replay = None
    passes: knobs.Passes = None
    learning_rate_factor: knobs.LearningRateFactor = None
    min_new_tokens: knobs.MinNewTokens = None


class FineTuneSettings(Form):
    """Knobs of fine-tuning. An empty field keeps the preset's value."""

    model_name: knobs.ModelName = None
    finetune_epochs: knobs.FinetuneEpochs = None
    finetune_learning_rate: knobs.FinetuneLearningRate = None
    seed: knobs.Seed = None
    device: knobs.Device = None
    workers: knobs.Workers = None


class WatchSettings(Form):
    """Knobs of the watcher. An empty field keeps the preset's value."""

    text_files: knobs.TextFiles = None
    model_name: knobs.ModelName = None
    rest_seconds: knobs.RestSeconds = None


class HousekeepingSettings(Form):
    """Knobs of housekeeping."""

    keep_days: knobs.KeepDays = None
    orphan_hours: knobs.OrphanHours = None
    unfinished_days: knobs.UnfinishedDays = None
    dry_run: knobs.DryRun = None


PLACES = {
    "eval_set_name": ("eval_set.name",),
    "model_name": ("registry.name",),
    "vocab_size": ("tokenizer.vocab_size",),
    "context_length": ("pretrain.context_length", "finetune.context_length"),
    "width": ("pretrain.model.width",),
    "layers": ("pretrain.model.layers",),
    "training_tokens": ("pretrain.horizon",),
    "batch_rows": ("pretrain.batch_rows",),
    "learning_rate": ("pretrain.optimizer.learning_rate",),
    "finetune_epochs": ("finetune.horizon",),
    "finetune_learning_rate": ("finetune.optimizer.learning_rate",),
    "seed": ("pretrain.seed", "finetune.seed"),
    "device": ("runtime.device",),
    "workers": ("runtime.workers",),
    "replay": ("continuation.replay",),
    "passes": ("continuation.epochs",),
    "learning_rate_factor": ("continuation.learning_rate_factor",),
    "min_new_tokens": ("continuation.min_new_tokens",),
}

HORIZONS = {"training_tokens": "tokens", "finetune_epochs": "epochs"}

ROOT_VARIABLE = "GRISTMILL_ROOT"
MLFLOW_UI_VARIABLE = "GRISTMILL_MLFLOW_UI"


def root_of_environment() -> str | None:
    """`GRISTMILL_ROOT`, if it is set.

    Where it was not when `prefect deploy` ran, the deployments carry its placeholder instead.
    """
    value = os.environ.get(ROOT_VARIABLE, "").strip()
    return None if not value or value.startswith("{{") else value


def with_root_of_environment(config: RunConfig) -> RunConfig:
    """`GRISTMILL_ROOT` (set by `mill dev` or a deployment's job variables) wins over the preset.

    `GRISTMILL_MLFLOW_UI` says where the pages of a local store are served, unless the settings do.
    """
    root, ui_url = root_of_environment(), os.environ.get(MLFLOW_UI_VARIABLE)
    if ui_url and config.tracking.ui_url is None and config.tracking.uri is None:
        tracking = config.tracking.model_copy(update={"ui_url": ui_url})
        config = config.model_copy(update={"tracking": tracking})
    return config.model_copy(update={"root": root}) if root else config


def preset_path(preset: str) -> Path:
    """The file of a preset."""
    return CONFIGS / f"{preset}.yaml"


def resolve(preset: str, settings: Form, config: dict[str, Any] | None = None) -> RunConfig:
    """The one RunConfig that a form means; ConfigError before any work if it cannot be."""
    if config is not None:
        return with_root_of_environment(validate(config, where="config"))
    tree = read_settings(preset_path(preset))
    for name, places in PLACES.items():
        value = getattr(settings, name, None)
        if value is None:
            continue
        for place in places:
            _set(tree, place.split("."), {HORIZONS[name]: value} if name in HORIZONS else value)
    text_files = getattr(settings, "text_files", None)
    if text_files:
        tree["clean"]["sources"] = [source_for(path) for path in text_files]
    checked = validate(tree, where=f"preset {preset} with these settings")
    return with_root_of_environment(checked)


def source_for(path: str) -> dict[str, Any]:
    """The source settings that read `path`, by its extension."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(path).stem).strip(".-_")
    return {"kind": kind_of(path), "name": name or "text", "paths": [path]}


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    place = tree
    for key in keys[:-1]:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"the preset's {'.'.join(keys)} cannot be set from the form")
        place = inner
    place[keys[-1]] = value
