"""SFT pairs from a user's own JSONL or Parquet files, split by group or by prompt."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.conversations.example import Example
from pipeline.conversations.formats import Limits, ReadReport, data_file, read_rows
from pipeline.conversations.near_prompts import without_near_prompts
from pipeline.conversations.splits import Pairs, unit_hash, without_repeats
from pipeline.store.errors import DataError


class JsonlPairs(BaseModel):
    """Your own examples: prompt/answer, messages, Alpaca or ShareGPT rows, told by their keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["jsonl"] = Field(
        "jsonl", title="Kind", description="pairs from JSONL or Parquet files"
    )
    paths: tuple[str, ...] = Field(
        title="Files",
        description=".jsonl, .jsonl.gz or .parquet files, one example per row",
        min_length=1,
    )
    group_field: str | None = Field(
        None,
        title="Group field",
        description="rows with equal values stay in one split; default: prompt",
    )
    validation_fraction: float = Field(
        0.03, title="Validation share", description="of the groups", ge=0, lt=1
    )
    held_out_fraction: float = Field(
        0.05, title="Held-out share", description="of the groups", ge=0, lt=1
    )
    min_jaccard: float | None = Field(
        0.8,  # Lee et al. 2022 for documents; looked at on templated questions: they stay
        title="Near-duplicate prompts",
        description="of two prompts whose word 3-grams agree this much one is left out; null: none",
        gt=0,
        le=1,
    )
    weights: tuple[float, ...] = Field(
        (),
        title="Weights",
        description="one per file: 2 trains on its rows twice per epoch, 0.5 on half of them; "
        "validation and held-out rows are never repeated",
    )
    max_bad_fraction: float = Field(
        0.05, title="Bad rows allowed", description="a larger share of unusable rows stops the run",
        ge=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _has_a_weight_per_file(self) -> "JsonlPairs":
        if self.weights and len(self.weights) != len(self.paths):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.paths)} files; give one each"
            )
        if not all(0 <= weight <= 1000 for weight in self.weights):
            raise ValueError(f"weights={self.weights} must be 0 to 1000")
        return self

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "JsonlPairs":
        held = self.validation_fraction + self.held_out_fraction
        if held >= 1:
            raise ValueError(
                f"validation_fraction + held_out_fraction = {held} leaves nothing to train on"
            )
        return self


def pairs_from_jsonl(config: JsonlPairs, limits: Limits, seed: int) -> tuple[Pairs, ReadReport]:
    """Read, de-duplicate by prompt and split; DataError when too many rows are unusable."""
    report = ReadReport()
    pairs = Pairs()
    for example in without_repeats(_all(config, limits, report), set(), pairs.removed):
        share = unit_hash(seed, "split", example.group)
        if share < config.held_out_fraction:
            pairs.held_out.append(example)
        elif share < config.held_out_fraction + config.validation_fraction:
            pairs.validation.append(example)
        else:
            pairs.train.append(example)
    bad, total = len(report.quarantined), len(report.quarantined) + report.read
    if total and bad / total > config.max_bad_fraction:
        first = report.quarantined[0]
        raise DataError(
            f"{bad} of {total} rows are unusable ({report.reasons()}; first: {first['file']} line "
            f"{first['position']}), more than max_bad_fraction={config.max_bad_fraction}; mend the "
            "file or raise the limit"
        )
    if config.min_jaccard is not None:
        pairs = without_near_prompts(pairs, config.min_jaccard)
    if config.weights:
        pairs.train = _weighted(config, pairs.train, seed)
    return pairs, report


def _all(config: JsonlPairs, limits: Limits, report: ReadReport) -> Iterator[Example]:
    for number, path in enumerate(config.paths):
        yield from read_rows(
            data_file(path),
            limits=limits,
            report=report,
            group_field=config.group_field,
            origin=number,
        )


def _weighted(config: JsonlPairs, examples: list[Example], seed: int) -> list[Example]:
    taken = []
    for example in examples:
        weight = config.weights[example.origin]
        draw = unit_hash(seed, "weight", example.group, example.question)
        taken += [example] * (int(weight) + (draw < weight - int(weight)))
    return taken
