"""What earlier runs of a root say about this one: from journals and the ledger, without MLflow."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pipeline.tracking.journal import read_all
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.lineage import WHOLE_RUN
from pipeline.tracking.versions import GATE_TAG

LOOK_BACK = 7
"""Runs of which the median is taken."""
ENOUGH = 3
"""Runs without which no median is worth an alert."""
OFF = 0.5
"""How far from the median, as a share of it, is unusual."""


@dataclass(frozen=True)
class Volume:
    """What one run's cleaning kept."""

    documents_kept: float
    bytes_kept: float
    drop_rate: float
    """Share of the documents read that were dropped, held-out ones counted as dropped."""


def volumes(root: Path, name: str, *, before: str = "") -> list[Volume]:
    """Of the runs that trained the model `name`, oldest first, without the run `before`."""
    found: list[tuple[float, Volume]] = []
    for directory in (root / "journal").glob("*/"):
        if directory.name == before:
            continue
        try:
            began = float(json.loads((directory / "run.json").read_text())["started"])
            config = json.loads((directory / "config.json").read_text())
            own = config["registry"]["name"] == name
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a run that never came so far
        volume = _volume(directory / "clean.jsonl") if own else None
        if volume is not None:
            found.append((began, volume))
    return [volume for _, volume in sorted(found, key=lambda pair: pair[0])]


def unusual(now: Volume, earlier: list[Volume]) -> str | None:
    """What is more than half off the median of the last seven runs; None if nothing, or too few."""
    recent = earlier[-LOOK_BACK:]
    if len(recent) < ENOUGH:
        return None
    told = []
    for field, title in (
        ("documents_kept", "documents kept"),
        ("bytes_kept", "bytes kept"),
        ("drop_rate", "share dropped"),
    ):
        value, usual = getattr(now, field), median(getattr(one, field) for one in recent)
        if abs(value - usual) > OFF * usual:
            told.append(f"{title} {value:,.4g} against a median of {usual:,.4g}")
    return "; ".join(told) or None


def refusals_in_a_row(root: Path, uri: str, name: str) -> int:
    """How many of the newest versions of `name` the gate refused, one after the other."""
    count = 0
    for entry in reversed(Ledger(root, uri).state().versions):
        if entry.name != name:
            continue
        if entry.tags.get(GATE_TAG) != "refused":
            break
        count += 1
    return count


def _volume(journal: Path) -> Volume | None:
    """Of the last figures in a run's journal of the stage `clean`."""
    for record in reversed(read_all(journal).records):
        figures = record.metrics or {}
        read = figures.get(f"{WHOLE_RUN}/documents_read", 0.0)
        if read > 0:
            kept = figures.get(f"{WHOLE_RUN}/documents_kept", 0.0)
            return Volume(kept, figures.get(f"{WHOLE_RUN}/bytes_kept", 0.0), 1.0 - kept / read)
    return None
