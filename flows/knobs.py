"""The knobs of all forms: title, description, unit and bounds of each, defined once.

A form is a model that picks some of them; an empty knob keeps the preset's value.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema

from pipeline.store.secrets import SECRET_PATTERN

CONFIG_DEPTH = 5  # `clean.sources.0.paths.0`; what is deeper is refused when the run begins


def _shown(position: int) -> Callable[[dict[str, Any]], None]:
    """In the form's place `position`, as a plain field that may stay empty."""

    def change(schema: dict[str, Any]) -> None:
        schema["position"] = position
        schema.pop("default", None)  # null would be shown as a value

    return change


def _free_of_secrets(depth: int) -> dict[str, Any]:
    """A schema of any JSON whose texts hold no credentials, `depth` levels down.

    Prefect's server stores what it is given before a run sees it: it has to be the one to refuse.
    Written out level by level: Prefect refuses schemas that refer to themselves.
    """
    schema: dict[str, Any] = {"not": {"type": "string", "pattern": SECRET_PATTERN}}
    if depth:
        inner = _free_of_secrets(depth - 1)
        schema |= {"additionalProperties": inner, "items": inner}
    return schema


WholeConfig = Annotated[
    dict[str, Any] | None,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": _free_of_secrets(CONFIG_DEPTH)},
                {"type": "null"},
            ]
        }
    ),
]
"""A RunConfig as JSON."""
Text = Annotated[str, Field(json_schema_extra={"pattern": rf"^(?![\s\S]*({SECRET_PATTERN}))"})]

Empty = SkipJsonSchema[None]
"""None in Python, an empty field in the form: no int-or-None switch beside every knob."""


class Form(BaseModel):
    """Knobs over a preset; only what is set is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


TextFiles = Annotated[
    list[Text] | Empty,
    Field(
        title="Your text",
        json_schema_extra=_shown(1),
        description="Files, folders or globs (.txt, .md, .jsonl, .jsonl.gz, .jsonl.zst, .parquet) "
        "on the machine that runs the flow; none: the preset's text (zh has none of its own)",
    ),
]
EvalSetName = Annotated[
    Text | Empty,
    Field(
        title="Held-out set",
        json_schema_extra=_shown(2),
        description="A name; its documents are frozen at first use. Other text needs a new name",
    ),
]
ModelName = Annotated[
    Text | Empty,
    Field(
        title="Name in the registry",
        json_schema_extra=_shown(3),
        description="The tuned model gets this name, the base model NAME-base",
    ),
]
VocabSize = Annotated[
    Annotated[int, Field(ge=300, le=262_144)] | Empty,
    Field(
        title="Vocabulary",
        json_schema_extra=_shown(4),
        description="Number of tokens, special ones included (300 to 262,144)",
    ),
]
ContextLength = Annotated[
    Annotated[int, Field(ge=16, le=131_072)] | Empty,
    Field(
        title="Context length",
        json_schema_extra=_shown(5),
        description="Tokens the model sees at once (16 to 131,072)",
    ),
]
Width = Annotated[
    Annotated[int, Field(ge=16, le=16_384)] | Empty,
    Field(
        title="Width",
        json_schema_extra=_shown(6),
        description="Dimensions of the residual stream (16 to 16,384)",
    ),
]
Layers = Annotated[
    Annotated[int, Field(ge=1, le=200)] | Empty,
    Field(
        title="Layers",
        json_schema_extra=_shown(7),
        description="Transformer blocks (1 to 200)",
    ),
]
TrainingTokens = Annotated[
    Annotated[int, Field(ge=1_000)] | Empty,
    Field(
        title="Training tokens",
        json_schema_extra=_shown(8),
        description="Tokens seen in pretraining, repetitions included (from 1,000)",
    ),
]
BatchRows = Annotated[
    Annotated[int, Field(ge=1, le=65_536)] | Empty,
    Field(
        title="Batch rows",
        json_schema_extra=_shown(9),
        description="Rows of context length per optimiser step (1 to 65,536)",
    ),
]
LearningRate = Annotated[
    Annotated[float, Field(gt=0, le=1)] | Empty,
    Field(
        title="Learning rate",
        json_schema_extra=_shown(10),
        description="Peak learning rate of pretraining (above 0, up to 1)",
    ),
]
FinetuneEpochs = Annotated[
    Annotated[float, Field(gt=0, le=100)] | Empty,
    Field(
        title="Fine-tuning epochs",
        json_schema_extra=_shown(11),
        description="Passes over the prompt/answer pairs (above 0, up to 100)",
    ),
]
FinetuneLearningRate = Annotated[
    Annotated[float, Field(gt=0, le=1)] | Empty,
    Field(
        title="Fine-tuning learning rate",
        json_schema_extra=_shown(12),
        description="Peak learning rate of fine-tuning (above 0, up to 1)",
    ),
]
Seed = Annotated[
    Annotated[int, Field(ge=0, le=2**31 - 1)] | Empty,
    Field(
        title="Seed",
        json_schema_extra=_shown(13),
        description="Of pretraining and fine-tuning; same seed, same weights on the same machine",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"] | Empty,
    Field(
        title="Device",
        json_schema_extra=_shown(14),
        description="auto takes an NVIDIA GPU where there is one",
    ),
]
Workers = Annotated[
    Annotated[int, Field(ge=1, le=512)] | Empty,
    Field(
        title="Worker processes",
        json_schema_extra=_shown(15),
        description="For reading, cleaning and tokenizing (1 to 512)",
    ),
]
OnlyNew = Annotated[
    bool | Empty,
    Field(
        title="Only new files",
        json_schema_extra=_shown(16),
        description="Clean what arrived since the last time, without what is known already; off: "
        "everything",
    ),
]
Replay = Annotated[
    Annotated[float, Field(ge=0, lt=1)] | Empty,
    Field(
        title="Share of old text",
        json_schema_extra=_shown(17),
        description="Of the tokens trained tonight (0 to below 1); keeps the model from forgetting",
    ),
]
Passes = Annotated[
    Annotated[float, Field(gt=0, le=100)] | Empty,
    Field(
        title="Passes",
        json_schema_extra=_shown(18),
        description="Over the new text and its share of old text (above 0, up to 100)",
    ),
]
LearningRateFactor = Annotated[
    Annotated[float, Field(gt=0, le=10)] | Empty,
    Field(
        title="Learning rate factor",
        json_schema_extra=_shown(19),
        description="Peak tonight as a multiple of the first training's learning rate (above 0, "
        "up to 10)",
    ),
]
MinNewTokens = Annotated[
    Annotated[int, Field(ge=1)] | Empty,
    Field(
        title="Least new text",
        json_schema_extra=_shown(20),
        description="Tokens (from 1); less waits for the next night",
    ),
]
RestSeconds = Annotated[
    Annotated[float, Field(ge=0, le=86_400)] | Empty,
    Field(
        title="Rest",
        json_schema_extra=_shown(21),
        description="Seconds (0 to 86,400) for which no new file may have been written: one that "
        "is still being copied is not announced; none: 60",
    ),
]
KeepDays = Annotated[
    Annotated[int, Field(ge=1, le=36_500)] | Empty,
    Field(
        title="Keep journals",
        json_schema_extra=_shown(22),
        description="Days (1 to 36,500) after which the journal of a run that MLflow has is "
        "removed; none: kept for ever",
    ),
]
OrphanHours = Annotated[
    Annotated[float, Field(ge=0, le=8_760)] | Empty,
    Field(
        title="Age of orphans",
        json_schema_extra=_shown(23),
        description="Hours (0 to 8,760) after which temporary files are removed; none: 24",
    ),
]
UnfinishedDays = Annotated[
    Annotated[float, Field(ge=0, le=3_650)] | Empty,
    Field(
        title="Age of unfinished work",
        json_schema_extra=_shown(25),
        description="Days (0 to 3,650) after which artifacts that a killed run began and nobody "
        "went on with are removed, checkpoints too; none: 14",
    ),
]
DryRun = Annotated[
    bool | Empty,
    Field(
        title="Only look",
        json_schema_extra=_shown(26),
        description="Show what would be removed, remove nothing",
    ),
]
