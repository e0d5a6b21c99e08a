"""SFT pairs from a user's own JSONL or Parquet files, split by group or by prompt."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.conversations.example import Example
from pipeline.conversations.formats import Limits, ReadReport, data_file, read_rows
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
    max_bad_fraction: float = Field(
        0.05, title="Bad rows allowed", description="a larger share of unusable rows stops the run",
        ge=0, le=1,
    )  # fmt: skip

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
    return pairs, report


def _all(config: JsonlPairs, limits: Limits, report: ReadReport) -> Iterator[Example]:
    for path in config.paths:
        yield from read_rows(
            data_file(path), limits=limits, report=report, group_field=config.group_field
        )
