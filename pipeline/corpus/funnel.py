"""What became of every document that was read: nothing is dropped without being counted.

read = held out + rejected by a filter + removed across parts + kept
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.corpus.languages.codes import UNDETERMINED

DROPPED = "dropped:"
"""Prefix of the reasons among a part's counts of one language."""
HELD_OUT = "held_out"
LEADING = 5  # reasons an error message names


@dataclass
class Tally:
    """Counts of one part or of the parts of one source."""

    documents_read: int = 0
    bytes_read: int = 0
    documents_kept: int = 0
    bytes_kept: int = 0
    held_out: int = 0
    rejected: int = 0
    removed: int = 0
    quarantined: int = 0
    """Records that never became documents; not part of `documents_read`."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason, documents; `held_out` is one of them."""
    repaired: Counter[str] = field(default_factory=Counter)
    """By kind of repair, documents."""
    rewritten: Counter[str] = field(default_factory=Counter)
    """By `step.what`, as many as the step counts."""

    def add(self, other: "Tally") -> None:
        """Add another tally's counts to this one."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def facts(self) -> dict[str, Any]:
        """The counts, most frequent reasons first."""
        return {
            name: dict(sorted(value.items(), key=lambda item: (-item[1], item[0])))
            if isinstance(value, Counter)
            else value
            for name, value in vars(self).items()
        }

    def leading_reasons(self) -> str:
        """`12 length.too_few_words, 3 exact_duplicate` for messages."""
        reasons = list(self.facts()["dropped"].items())
        told = [f"{count} {reason}" for reason, count in reasons[:LEADING]]
        if len(reasons) > LEADING:
            told.append(f"{sum(count for _, count in reasons[LEADING:])} for other reasons")
        return ", ".join(told) or "it holds none"


def tally_part(facts: Mapping[str, Any], removed: pa.Table) -> Tally:
    """The counts of one cleaned part: its manifest's facts, less what left across parts."""
    reasons = Counter(removed.column("reason").to_pylist())
    held_out = sum(facts["held_out"].values())
    dropped = Counter(facts["rejected"]) + reasons
    dropped[HELD_OUT] += held_out
    return Tally(
        documents_read=facts["documents_read"],
        bytes_read=facts["bytes_read"],
        documents_kept=facts["documents_kept"] - removed.num_rows,
        bytes_kept=facts["bytes_kept"] - sum(removed.column("bytes").to_pylist()),
        held_out=held_out,
        rejected=sum(facts["rejected"].values()),
        removed=removed.num_rows,
        quarantined=facts["quarantined"],
        dropped=+dropped,
        repaired=Counter(facts["repaired"]),
        rewritten=Counter(facts["rewritten"]),
    )


def tally_languages(
    facts: Mapping[str, Any], removed: pa.Table, removed_languages: Sequence[str | None]
) -> dict[str, Tally]:
    """The counts of one cleaned part by language, held-out documents left out."""
    tallies = {
        language: _language_tally(counts) for language, counts in facts["by_language"].items()
    }
    columns = (
        removed_languages,
        *(removed.column(name).to_pylist() for name in ("reason", "bytes")),
    )
    for language, reason, num_bytes in zip(*columns, strict=True):
        tally = tallies[language or UNDETERMINED]
        tally.documents_kept -= 1
        tally.bytes_kept -= num_bytes
        tally.removed += 1
        tally.dropped[reason] += 1
    return tallies


def _language_tally(counts: Mapping[str, int]) -> Tally:
    dropped = {
        name.removeprefix(DROPPED): count
        for name, count in counts.items()
        if name.startswith(DROPPED)
    }
    return Tally(
        documents_read=counts.get("documents_read", 0),
        bytes_read=counts.get("bytes_read", 0),
        documents_kept=counts.get("documents_kept", 0),
        bytes_kept=counts.get("bytes_kept", 0),
        rejected=sum(dropped.values()),
        dropped=Counter(dropped),
    )


@dataclass
class Funnel:
    """Tallies of the whole corpus, of each source and of each language."""

    total: Tally = field(default_factory=Tally)
    by_source: dict[str, Tally] = field(default_factory=dict)
    by_language: dict[str, Tally] = field(default_factory=dict)

    def add(self, source: str, tally: Tally) -> None:
        """Count one part of `source`."""
        self.total.add(tally)
        self.by_source.setdefault(source, Tally()).add(tally)

    def add_languages(self, tallies: Mapping[str, Tally]) -> None:
        """Count one part by language."""
        for language, tally in tallies.items():
            self.by_language.setdefault(language, Tally()).add(tally)

    def facts(self) -> dict[str, Any]:
        """The total's counts, `by_source`, `by_language`, and `funnel`: rows of step, documents,
        share."""
        total = self.total.facts()
        steps = {"read": self.total.documents_read}
        steps |= {reason: -count for reason, count in total["dropped"].items()}
        steps["kept"] = self.total.documents_kept
        read = max(self.total.documents_read, 1)
        rows = [
            {"step": step, "documents": count, "share": abs(count) / read}
            for step, count in steps.items()
        ]
        sources = {name: tally.facts() for name, tally in self.by_source.items()}
        languages = {name: tally.facts() for name, tally in sorted(self.by_language.items())}
        return {**total, "by_source": sources, "by_language": languages, "funnel": rows}
