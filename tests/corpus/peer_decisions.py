"""datatrove's stored decisions and ours on the same texts, side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.peer_reasons import PEER_REASONS
from pipeline.corpus.chain import pass_through
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Step
from tests.corpus.peer_texts import documents

STORED = Path(__file__).parent / "data" / "peer_decisions.json"


@dataclass(frozen=True)
class Peer:
    """What datatrove 0.10.1 says of one document."""

    alone: dict[str, str | None]
    """The reason of each filter by itself; None keeps."""
    first: str | None
    """`filter: reason` of the chain."""
    kept_text: str | None
    num_words: int
    words: list[str] | None


@cache
def peer() -> dict[str, Peer]:
    """By document name."""
    rows = json.loads(STORED.read_text(encoding="utf-8"))
    names = ("alone", "first", "kept_text", "num_words", "words")
    return {row["id"]: Peer(**{name: row[name] for name in names}) for row in rows}


def batch_of(names: Sequence[str]) -> TextBatch:
    """The named documents."""
    texts = documents()
    return TextBatch.of([texts[name] for name in names], names)


def reasons_of(steps: Sequence[Step], names: Sequence[str]) -> dict[str, str | None]:
    """Our first reason for each document in the peer's words: `filter: reason`, None keeps."""
    verdicts = pass_through(steps, batch_of(names)).verdicts
    return {
        name: f"{reason.partition('.')[0]}: {PEER_REASONS[reason]}" if reason else None
        for name, reason in zip(names, verdicts.reasons, strict=True)
    }
