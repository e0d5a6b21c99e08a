"""The form of a run: a preset and about fifteen knobs, resolved to one strict RunConfig.

A preset is a file in `flows/configs`; a knob left empty keeps the preset's value.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import SkipJsonSchema

from pipeline.config import RunConfig, validate
from pipeline.corpus.sources.by_name import kind_of
from pipeline.store.errors import ConfigError
from pipeline.store.settings_file import read_settings

CONFIGS = Path(__file__).resolve().parent / "configs"
Preset = Literal["pydocs", "tiny"]


def _shown(position: int) -> Callable[[dict[str, Any]], None]:
    """In the form's place `position`, as a plain field that may stay empty."""

    def change(schema: dict[str, Any]) -> None:
        schema["position"] = position
        schema.pop("default", None)  # null would be shown as a value

    return change


Empty = SkipJsonSchema[None]
"""None in Python, an empty field in the form: no int-or-None switch beside every knob."""


class Settings(BaseModel):
    """Knobs over the preset. An empty field keeps the preset's value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_files: list[str] | Empty = Field(
        None, title="Your text", json_schema_extra=_shown(1),
        description="Files, folders or globs (.txt, .md, .jsonl, .jsonl.gz, .jsonl.zst, .parquet) "
        "on the machine that runs the flow; none: the preset's text",
    )  # fmt: skip
    eval_set_name: str | Empty = Field(
        None, title="Held-out set", json_schema_extra=_shown(2),
        description="A name; its documents are frozen at first use. Other text needs a new name",
    )  # fmt: skip
    model_name: str | Empty = Field(
        None, title="Name in the registry", json_schema_extra=_shown(3),
        description="The tuned model gets this name, the base model NAME-base",
    )  # fmt: skip
    vocab_size: Annotated[int, Field(ge=300, le=262_144)] | Empty = Field(
        None, title="Vocabulary", json_schema_extra=_shown(4),
        description="Number of tokens, special ones included (300 to 262,144)",
    )  # fmt: skip
    context_length: Annotated[int, Field(ge=16, le=131_072)] | Empty = Field(
        None, title="Context length", json_schema_extra=_shown(5),
        description="Tokens the model sees at once (16 to 131,072)",
    )  # fmt: skip
    width: Annotated[int, Field(ge=16, le=16_384)] | Empty = Field(
        None, title="Width", json_schema_extra=_shown(6),
        description="Dimensions of the residual stream (16 to 16,384)",
    )  # fmt: skip
    layers: Annotated[int, Field(ge=1, le=200)] | Empty = Field(
        None, title="Layers", json_schema_extra=_shown(7),
        description="Transformer blocks (1 to 200)",
    )  # fmt: skip
    training_tokens: Annotated[int, Field(ge=1_000)] | Empty = Field(
        None, title="Training tokens", json_schema_extra=_shown(8),
        description="Tokens seen in pretraining, repetitions included (from 1,000)",
    )  # fmt: skip
    batch_rows: Annotated[int, Field(ge=1, le=65_536)] | Empty = Field(
        None, title="Batch rows", json_schema_extra=_shown(9),
        description="Rows of context length per optimiser step (1 to 65,536)",
    )  # fmt: skip
    learning_rate: Annotated[float, Field(gt=0, le=1)] | Empty = Field(
        None, title="Learning rate", json_schema_extra=_shown(10),
        description="Peak learning rate of pretraining (above 0, up to 1)",
    )  # fmt: skip
    finetune_epochs: Annotated[float, Field(gt=0, le=100)] | Empty = Field(
        None, title="Fine-tuning epochs", json_schema_extra=_shown(11),
        description="Passes over the prompt/answer pairs (above 0, up to 100)",
    )  # fmt: skip
    finetune_learning_rate: Annotated[float, Field(gt=0, le=1)] | Empty = Field(
        None, title="Fine-tuning learning rate", json_schema_extra=_shown(12),
        description="Peak learning rate of fine-tuning (above 0, up to 1)",
    )  # fmt: skip
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | Empty = Field(
        None, title="Seed", json_schema_extra=_shown(13),
        description="Of pretraining and fine-tuning; same seed, same weights on the same machine",
    )  # fmt: skip
    device: Literal["auto", "cpu", "cuda"] | Empty = Field(
        None, title="Device", json_schema_extra=_shown(14),
        description="auto takes an NVIDIA GPU where there is one",
    )  # fmt: skip
    workers: Annotated[int, Field(ge=1, le=512)] | Empty = Field(
        None, title="Worker processes", json_schema_extra=_shown(15),
        description="For reading, cleaning and tokenizing (1 to 512)",
    )  # fmt: skip

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


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
    return {"kind": kind_of(path), "name": name or "text", "paths": [path]}


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    place = tree
    for key in keys[:-1]:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"the preset's {'.'.join(keys)} cannot be set from the form")
        place = inner
    place[keys[-1]] = value
