"""Whether two cleanings of the same documents took the same decisions, and where they did not.

A decision is None for a kept document, else the reason in the peer's words, `filter: reason`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa

from benchmarks.peer_reasons import PEER_REASONS
from pipeline.corpus.document import open_documents
from pipeline.store.errors import DataError

Decisions = Mapping[str, str | None]
FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


@dataclass(frozen=True)
class Agreement:
    """Two decisions for each of N documents, compared."""

    documents: int
    same_fate: float
    """Share that both keep or both drop."""
    same_reason: float
    """Share that both keep, or drop for the same first reason."""
    kept: int
    """By the peer."""
    differences: tuple[tuple[str, str | None, str | None], ...]
    """(document, ours, theirs), in the order of the documents' names."""

    def kinds(self) -> list[tuple[str, int]]:
        """`ours -> theirs` and how often, the most frequent first."""
        counts = Counter(f"{ours} -> {theirs}" for _, ours, theirs in self.differences)
        return counts.most_common()


def compare(ours: Decisions, theirs: Decisions) -> Agreement:
    """DataError unless both decided about the same documents."""
    if set(ours) != set(theirs):
        missing, extra = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
        raise DataError(
            f"the two sides saw different documents: ours lacks {missing[:3]} ({len(missing)}), "
            f"the peer lacks {extra[:3]} ({len(extra)})"
        )
    if not ours:
        raise DataError("no document was cleaned; give --data a file with some")
    names = sorted(ours)
    differences = tuple((n, ours[n], theirs[n]) for n in names if ours[n] != theirs[n])
    fates = sum((ours is None) != (theirs is None) for _, ours, theirs in differences)
    count = len(names)
    return Agreement(
        documents=count,
        same_fate=1 - fates / count,
        same_reason=1 - len(differences) / count,
        kept=sum(reason is None for reason in theirs.values()),
        differences=differences,
    )


def own_decisions(out: Path) -> dict[str, str | None]:
    """What `own_cleaning` wrote below `out`."""
    found: dict[str, str | None] = {}
    for directory in sorted(out.glob("cleaned-*")):
        for name in _column(directory / "documents.arrow", "doc_id"):
            found[name] = None
        names = _column(directory / "rejected.arrow", "doc_id")
        reasons = _column(directory / "rejected.arrow", "reason")
        found |= {name: in_peers_words(r) for name, r in zip(names, reasons, strict=True)}
    return found


def peer_decisions(out: Path) -> dict[str, str | None]:
    """What `peer_cleaning.py` wrote below `out`."""
    found: dict[str, str | None] = {}
    for name in ("kept", *FILTERS):
        for path in sorted((out / name).glob("*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    row = orjson.loads(line)
                    reason = row.get("metadata", {}).get("filter_reason")
                    found[row["id"]] = None if name == "kept" else f"{name}: {reason}"
    return found


def in_peers_words(reason: str) -> str:
    """`gopher_quality.too_few_words` -> `gopher_quality: gopher_short_doc`."""
    return f"{reason.partition('.')[0]}: {PEER_REASONS[reason]}"


def _column(path: Path, name: str) -> list[str]:
    with open_documents(path) as reader:
        table: pa.Table = reader.read_all()
    return [str(value) for value in table.column(name).to_pylist()]
