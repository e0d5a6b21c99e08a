"""One labelled text, or one text whose words have labels, and its line in a JSONL file.

{"text": "...", "label": "..."}                    level text
{"words": ["...", "..."], "labels": ["...", ...]}  level word
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.bert_classifier import Level
from pipeline.conversations.splits import normalised
from pipeline.store.files import replacing


@dataclass(frozen=True)
class Labelled:
    """What is read, and what is to be found: one label, or one for each word."""

    id: str
    units: tuple[str, ...]
    """The text alone, or its words."""
    labels: tuple[str, ...]
    """As many as `units`."""
    group: str
    """Examples of one group stand in one split."""

    @property
    def key(self) -> str:
        """Equal for texts that differ in case and white space only."""
        return normalised(" ".join(self.units))


def write_labelled(path: Path, examples: Iterable[Labelled], level: Level) -> None:
    """One line per example."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for one in examples:
            row: dict[str, object] = {"id": one.id, "group": one.group}
            if level == "text":
                row |= {"text": one.units[0], "label": one.labels[0]}
            else:
                row |= {"words": list(one.units), "labels": list(one.labels)}
            handle.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def read_labelled(path: Path) -> Iterator[Labelled]:
    """What `write_labelled` wrote."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if "text" in row:
                units, labels = (row["text"],), (row["label"],)
            else:
                units, labels = tuple(row["words"]), tuple(row["labels"])
            yield Labelled(row["id"], units, labels, row["group"])
