"""The form of a run: a preset and about fifteen knobs, resolved to one strict RunConfig.

A preset is a file in `flows/configs`; a knob left empty keeps the preset's value.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import RunConfig, validate
from pipeline.store.errors import ConfigError
from pipeline.store.settings_file import read_settings

CONFIGS = Path(__file__).resolve().parent / "configs"
Preset = Literal["pydocs", "tiny"]


class Settings(BaseModel):
    """Knobs over the preset; an empty field keeps the preset's value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_files: list[str] | None = Field(
        None, title="Your text", json_schema_extra={"position": 1},
        description="Files, folders or globs (.txt, .md, .jsonl, .jsonl.gz, .jsonl.zst, .parquet) "
        "on the machine that runs the flow; empty: the preset's text",
    )  # fmt: skip
    eval_set_name: str | None = Field(
        None, title="Held-out set", json_schema_extra={"position": 2},
        description="Frozen by name at first use; choose a new name for other text",
    )  # fmt: skip
    model_name: str | None = Field(
        None, title="Name in the registry", json_schema_extra={"position": 3},
        description="The tuned model gets this name, the base model NAME-base",
    )  # fmt: skip
    vocab_size: int | None = Field(
        None, ge=300, le=262_144, title="Vocabulary", json_schema_extra={"position": 4},
        description="Number of tokens, special ones included",
    )  # fmt: skip
    context_length: int | None = Field(
        None, ge=16, le=131_072, title="Context length", json_schema_extra={"position": 5},
        description="Tokens the model sees at once",
    )  # fmt: skip
    width: int | None = Field(
        None, ge=16, le=16_384, title="Width", json_schema_extra={"position": 6},
        description="Dimensions of the residual stream; a multiple of the number of heads",
    )  # fmt: skip
    layers: int | None = Field(
        None, ge=1, le=200, title="Layers", json_schema_extra={"position": 7},
        description="Transformer blocks",
    )  # fmt: skip
    training_tokens: int | None = Field(
        None, ge=1_000, title="Training tokens", json_schema_extra={"position": 8},
        description="Tokens seen in pretraining, repetitions included",
    )  # fmt: skip
    batch_rows: int | None = Field(
        None, ge=1, le=65_536, title="Batch", json_schema_extra={"position": 9},
        description="Rows of context length per optimiser step",
    )  # fmt: skip
    learning_rate: float | None = Field(
        None, gt=0, le=1, title="Learning rate", json_schema_extra={"position": 10},
        description="Peak learning rate of pretraining",
    )  # fmt: skip
    finetune_epochs: float | None = Field(
        None, gt=0, le=100, title="Fine-tuning epochs", json_schema_extra={"position": 11},
        description="Passes over the prompt/answer pairs",
    )  # fmt: skip
    finetune_learning_rate: float | None = Field(
        None, gt=0, le=1, title="Fine-tuning learning rate", json_schema_extra={"position": 12}
    )  # fmt: skip
    seed: int | None = Field(
        None, ge=0, le=2**31 - 1, title="Seed", json_schema_extra={"position": 13},
        description="Of pretraining and fine-tuning; same seed, same weights on the same machine",
    )  # fmt: skip
    device: Literal["auto", "cpu", "cuda"] | None = Field(
        None, title="Device", json_schema_extra={"position": 14},
        description="auto takes an NVIDIA GPU where there is one",
    )  # fmt: skip
    workers: int | None = Field(
        None, ge=1, le=512, title="Worker processes", json_schema_extra={"position": 15},
        description="For reading, cleaning and tokenizing",
    )  # fmt: skip


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
}

HORIZONS = {"training_tokens": "tokens", "finetune_epochs": "epochs"}

ROOT_VARIABLE = "GRISTMILL_ROOT"
MLFLOW_UI_VARIABLE = "GRISTMILL_MLFLOW_UI"


def with_root_of_environment(config: RunConfig) -> RunConfig:
    """`GRISTMILL_ROOT` (set by `mill dev` or a deployment's job variables) wins over the preset.

    `GRISTMILL_MLFLOW_UI` says where the pages of a local store are served, unless the settings do.
    """
    root, ui_url = os.environ.get(ROOT_VARIABLE), os.environ.get(MLFLOW_UI_VARIABLE)
    if ui_url and config.tracking.ui_url is None and config.tracking.uri is None:
        tracking = config.tracking.model_copy(update={"ui_url": ui_url})
        config = config.model_copy(update={"tracking": tracking})
    return config.model_copy(update={"root": root}) if root else config


def preset_path(preset: str) -> Path:
    """The file of a preset."""
    return CONFIGS / f"{preset}.yaml"


def resolve(preset: str, settings: Settings, config: dict[str, Any] | None = None) -> RunConfig:
    """The one RunConfig that a form means; ConfigError before any work if it cannot be."""
    if config is not None:
        return with_root_of_environment(validate(config, where="config"))
    tree = read_settings(preset_path(preset))
    for name, places in PLACES.items():
        value = getattr(settings, name)
        if value is None:
            continue
        for place in places:
            _set(tree, place.split("."), {HORIZONS[name]: value} if name in HORIZONS else value)
    if settings.text_files:
        tree["clean"]["sources"] = [source_for(path) for path in settings.text_files]
    checked = validate(tree, where=f"preset {preset} with these settings")
    return with_root_of_environment(checked)


def source_for(path: str) -> dict[str, Any]:
    """The source settings that read `path`, by its extension."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(path).stem).strip(".-_")
    common = {"name": name or "text", "paths": [path]}
    if ".jsonl" in path:
        return {"kind": "jsonl", **common}
    if path.endswith(".parquet"):
        return {"kind": "parquet", **common}
    return {"kind": "text", **common}


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    place = tree
    for key in keys[:-1]:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"the preset's {'.'.join(keys)} cannot be set from the form")
        place = inner
    place[keys[-1]] = value
