"""Documents and bytes by fate, source, language and rule: the sums a corpus report is made of.

    MeasuredPart, part by part -> Accounts

Three questions per rule: how many documents does it turn away first, how many does it object to at
all, and how many does no other rule object to (which would come back without it).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.measured import KEPT, MeasuredPart, measured_parts

UNKNOWN = "und"
"""ISO 639-2 for an undetermined language; also where no step asked for it."""
Axis = Literal["source", "language"]


@dataclass
class Amount:
    """So many documents of so many bytes of text."""

    documents: int = 0
    bytes: int = 0

    def add(self, documents: int, num_bytes: int) -> None:
        """Count some more."""
        self.documents += documents
        self.bytes += num_bytes


@dataclass
class Objections:
    """What one rule says about a corpus."""

    first: Amount = field(default_factory=Amount)
    """Turned away by it before any other rule."""
    any: Amount = field(default_factory=Amount)
    """It objects to, first or not."""
    alone: Amount = field(default_factory=Amount)
    """Only it objects to."""


Fates = dict[str, Amount]


@dataclass
class Accounts:
    """The sums of one corpus."""

    judged: Amount = field(default_factory=Amount)
    """Every document a filter saw: all that were read but the held-out ones."""
    fates: Fates = field(default_factory=lambda: defaultdict(Amount))
    """By fate, KEPT included."""
    by: Mapping[Axis, dict[str, Fates]] = field(
        default_factory=lambda: {
            "source": defaultdict(lambda: defaultdict(Amount)),
            "language": defaultdict(lambda: defaultdict(Amount)),
        }
    )
    """By source and by language, then by fate."""
    rules: dict[str, Objections] = field(default_factory=lambda: defaultdict(Objections))

    @property
    def kept(self) -> Amount:
        """What stayed."""
        return self.fates.get(KEPT, Amount())

    def add(self, part: MeasuredPart) -> None:
        """Count the documents of one part."""
        rows = zip(
            part.fates,
            part.num_bytes.tolist(),
            part.sources,
            part.languages,
            part.objections,
            strict=True,
        )
        for fate, size, source, language, objections in rows:
            self.judged.add(1, size)
            self.fates[fate].add(1, size)
            self.by["source"][source][fate].add(1, size)
            self.by["language"][language or UNKNOWN][fate].add(1, size)
            for place, reason in enumerate(objections):
                rule = self.rules[reason]
                rule.any.add(1, size)
                if place == 0:
                    rule.first.add(1, size)
                if len(objections) == 1:
                    rule.alone.add(1, size)


def account(parts: Iterable[MeasuredPart]) -> Accounts:
    """The sums over `parts`."""
    accounts = Accounts()
    for part in parts:
        accounts.add(part)
    return accounts


def account_of(corpus: CleanedCorpus) -> Accounts:
    """The sums of a corpus; holds one part in memory."""
    return account(measured_parts(corpus))


def total(fates: Mapping[str, Amount]) -> Amount:
    """All fates together."""
    documents = sum(amount.documents for amount in fates.values())
    return Amount(documents, sum(amount.bytes for amount in fates.values()))


def share_kept(fates: Mapping[str, Amount], *, of: Literal["documents", "bytes"]) -> float:
    """The share of documents, or of bytes, that stayed; 0 for nothing at all."""
    whole = getattr(total(fates), of)
    kept = getattr(fates.get(KEPT, Amount()), of)
    return kept / whole if whole else 0.0
