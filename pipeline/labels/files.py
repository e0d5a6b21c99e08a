"""A user's own labels: JSONL, Parquet or Arrow rows; a bad row is kept aside with its reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.bert_classifier import Level
from pipeline.conversations.formats import data_file
from pipeline.conversations.row_files import BadRow, raw_rows
from pipeline.labels.example import Labelled

MAX_WORDS = 10_000  # guess: far beyond any sentence; a row that long is a file gone wrong


class LabelFiles(BaseModel):
    """Your own labelled texts, or texts with a label for every word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["jsonl"] = Field("jsonl", title="Kind", description="labels from files")
    paths: tuple[str, ...] = Field(
        title="Files", min_length=1,
        description='.jsonl, .jsonl.gz, .parquet or .arrow; rows {"text", "label"}, or '
        '{"words", "labels"} of equal length',
    )  # fmt: skip
    level: Level = Field(
        "text", title="Level", description="what has a label: the text, or each of its words"
    )
    group_field: str | None = Field(
        None, title="Group field",
        description="rows with equal values stay in one split; null: each text is its own group",
    )  # fmt: skip
    held_out_fraction: float = Field(
        0.1, gt=0, lt=1, title="Held-out share", description="of the groups, by hash of the text"
    )
    validation_fraction: float = Field(
        0.05, ge=0, lt=1, title="Validation share", description="of the groups"
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, title="Bad rows allowed",
        description="a larger share of unusable rows stops the run",
    )  # fmt: skip

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        held = self.validation_fraction + self.held_out_fraction
        if held >= 1:
            raise ValueError(
                f"validation_fraction + held_out_fraction = {held} leaves nothing to train on"
            )
        return self

    def files(self) -> list[Path]:
        """The files, in the order given; DataError names one that is none."""
        return [data_file(path) for path in self.paths]


@dataclass(frozen=True)
class Refused:
    """A row that cannot be used."""

    where: str
    reason: str


def rows_of(
    source: LabelFiles, files: Iterable[Path], *, max_bytes: int
) -> Iterator[Labelled | Refused]:
    """Every row of the files, usable or not, in order."""
    for path in files:
        for number, row in raw_rows(path):
            where = f"{path.name}:{number}"
            try:
                if isinstance(row, BadRow):
                    raise row
                yield _parsed(row, source, where, max_bytes)
            except BadRow as bad:
                yield Refused(where, str(bad))


def _parsed(row: dict[str, Any], source: LabelFiles, where: str, max_bytes: int) -> Labelled:
    if source.level == "text":
        units: tuple[str, ...] = (_text(row, "text"),)
        labels: tuple[str, ...] = (_label(_value(row, "label")),)
    else:
        units = tuple(_word(word) for word in _list(row, "words"))
        labels = tuple(_label(label) for label in _list(row, "labels"))
        if len(units) != len(labels):
            raise BadRow("words and labels of different length")
    if sum(len(unit.encode()) for unit in units) > max_bytes:
        raise BadRow("too long")
    one = Labelled(where, units, labels, "")
    group = one.key
    if source.group_field is not None:
        group = str(_value(row, source.group_field))
    return Labelled(where, units, labels, group)


def _value(row: dict[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise BadRow(f"no {name}")
    return row[name]


def _text(row: dict[str, Any], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str):
        raise BadRow(f"{name} is no string")
    if not value.strip():
        raise BadRow(f"empty {name}")
    return _encodable(value)


def _list(row: dict[str, Any], name: str) -> list[Any]:
    value = _value(row, name)
    if not isinstance(value, list):
        raise BadRow(f"{name} is no list")
    if not value:
        raise BadRow(f"empty {name}")
    if len(value) > MAX_WORDS:
        raise BadRow(f"more than {MAX_WORDS} {name}")
    return value


def _word(word: Any) -> str:
    if not isinstance(word, str):
        raise BadRow("a word is no string")
    if not word.strip():
        raise BadRow("an empty word")
    return _encodable(word.strip())


def _label(label: Any) -> str:
    """Numbers of classes are names too; a float is a measurement, and no class."""
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if not isinstance(label, str):
        raise BadRow("a label is neither a string nor a whole number")
    if not label.strip():
        raise BadRow("an empty label")
    return _encodable(label.strip())


def _encodable(text: str) -> str:
    """JSON can carry half a surrogate pair, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow("half a surrogate pair") from None
    return text
