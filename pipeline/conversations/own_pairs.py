"""SFT pairs of a user's own: JSONL or Parquet files, or a Hugging Face dataset, split by group."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.conversations.example import Example
from pipeline.conversations.formats import (
    Limits,
    Reading,
    ReadReport,
    Shape,
    data_file,
    read_rows,
)
from pipeline.conversations.near_prompts import without_near_prompts
from pipeline.conversations.splits import (
    Pairs,
    unit_hash,
    without_held_out_turns,
    without_repeats,
)
from pipeline.corpus.sources.huggingface import HuggingFaceSource
from pipeline.store.errors import DataError


class OwnPairs(BaseModel):
    """Your own examples: prompt/answer, messages, Alpaca or ShareGPT rows, told by their keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["auto"] | Shape = Field(
        "auto",
        title="Format",
        description="pair, messages, alpaca or sharegpt; auto: told by the keys of the first row",
    )
    ignored_keys: tuple[str, ...] = Field(
        (),
        title="Ignored keys",
        description="keys of rows and messages that mean nothing here; any other unknown key "
        "stops the run",
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
    max_bad_fraction: float = Field(
        0.05, title="Bad rows allowed", description="a larger share of unusable rows stops the run",
        ge=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        held = self.validation_fraction + self.held_out_fraction
        if held >= 1:
            raise ValueError(
                f"validation_fraction + held_out_fraction = {held} leaves nothing to train on"
            )
        return self


class JsonlPairs(OwnPairs):
    """Examples in files."""

    kind: Literal["jsonl"] = Field(
        "jsonl", title="Kind", description="pairs from JSONL or Parquet files"
    )
    paths: tuple[str, ...] = Field(
        title="Files",
        description=".jsonl, .jsonl.gz, .parquet or .arrow files, one example per row",
        min_length=1,
    )
    weights: tuple[float, ...] = Field(
        (),
        title="Weights",
        description="one per file: 2 trains on its rows twice per epoch, 0.5 on half of them; "
        "validation and held-out rows are never repeated",
    )

    @model_validator(mode="after")
    def _has_a_weight_per_file(self) -> Self:
        if self.weights and len(self.weights) != len(self.paths):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.paths)} files; give one each"
            )
        if not all(0 <= weight <= 1000 for weight in self.weights):
            raise ValueError(f"weights={self.weights} must be 0 to 1000")
        return self

    def files(self, root: Path) -> list[Path]:
        """The files, in the order given; DataError names one that is none."""
        del root
        return [data_file(path) for path in self.paths]


class HuggingFacePairs(OwnPairs):
    """Examples in a dataset on the hub, in a local copy, or in data files."""

    kind: Literal["huggingface"] = Field(
        "huggingface", title="Kind", description="pairs from a Hugging Face dataset"
    )
    dataset: str = Field(
        title="Dataset",
        description="hub name (`owner/name`), a directory written by save_to_disk, or with "
        "data_files one of json, parquet, arrow, csv",
        min_length=1,
    )
    revision: str | None = Field(
        None, title="Revision", description="commit, tag or branch; resolved once per root"
    )
    subset: str | None = Field(None, title="Subset", description="configuration of the dataset")
    split: str = Field("train", title="Split", description="split to read")
    data_files: tuple[str, ...] = Field(
        (), title="Data files", description="files or globs, when the dataset is made of them"
    )

    def files(self, root: Path) -> list[Path]:
        """The Arrow files of the dataset; nothing that comes with it is ever run."""
        source = HuggingFaceSource(
            name="examples", dataset=self.dataset, revision=self.revision, subset=self.subset,
            split=self.split, data_files=self.data_files,
        )  # fmt: skip
        return [Path(file.path) for unit in source.units(root) for file in unit.files]


PLACE = ("paths", "dataset", "revision", "subset", "split", "data_files")
"""Fields that say where the rows lie; they enter the identity by content."""


def pairs_from_files(
    config: OwnPairs, files: Sequence[Path], limits: Limits, seed: int
) -> tuple[Pairs, ReadReport]:
    """Read, de-duplicate by prompt and split; DataError when too many rows are unusable."""
    report = ReadReport()
    pairs = Pairs()
    for example in without_repeats(_all(config, files, limits, report), set(), pairs.removed):
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
    pairs = without_held_out_turns(pairs)
    if config.min_jaccard is not None:
        pairs = without_near_prompts(pairs, config.min_jaccard)
    if isinstance(config, JsonlPairs) and config.weights:
        pairs.train = _weighted(config, pairs.train, seed)
    return pairs, report


def _all(
    config: OwnPairs, files: Sequence[Path], limits: Limits, report: ReadReport
) -> Iterator[Example]:
    names: list[str] = []
    for number, path in enumerate(files):
        # Where a file lies says nothing about its rows, so two of one name are told by number.
        names.append(path.name)
        twin = names.count(path.name)
        reading = Reading(
            shape=None if config.format == "auto" else config.format,
            group_field=config.group_field,
            ignored_keys=frozenset(config.ignored_keys),
            origin=number,
            name=path.name if twin == 1 else f"{path.name} ({twin})",
        )
        yield from read_rows(path, limits=limits, report=report, reading=reading)


def _weighted(config: JsonlPairs, examples: list[Example], seed: int) -> list[Example]:
    taken = []
    for example in examples:
        weight = config.weights[example.origin]
        draw = unit_hash(seed, "weight", example.group, example.question)
        taken += [example] * (int(weight) + (draw < weight - int(weight)))
    return taken
