"""Documents and bytes by fate, source, language and rule: the sums a corpus report is made of.

    MeasuredPart, part by part -> Accounts

Three questions per rule: how many documents does it turn away first, how many does it object to at
all, and how many does no other rule object to (which would come back without it).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.measured import CUT, KEPT, MeasuredPart
from pipeline.corpus.objections import Asked, all_objections

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
    """By fate, KEPT included, and CUT for text that left kept documents."""
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

    def add(self, part: MeasuredPart, asked: Sequence[Asked]) -> None:
        """Count the documents of one part."""
        sizes = part.num_bytes
        columns = (sizes.tolist(), part.cut_bytes.tolist(), part.sources, part.languages)
        for fate, size, cut, source, language in zip(part.fates, *columns, strict=True):
            self.judged.add(1, size)
            groups = (self.by["source"][source], self.by["language"][language or UNDETERMINED])
            for fates in (self.fates, *groups):
                fates[fate].add(1, size - cut)
                if cut:
                    fates[CUT].add(0, cut)
        masks = all_objections(asked, part)
        objecting = sum((mask.astype(np.int64) for mask in masks.values()), np.int64(0))
        first = np.array([reason or KEPT for reason in part.first_objections], object)
        for reason, mask in masks.items():
            rule = self.rules[reason]
            for amount, rows_of_it in (
                (rule.any, mask),
                (rule.first, first == reason),
                (rule.alone, mask & (objecting == 1)),
            ):
                amount.add(int(rows_of_it.sum()), int(sizes[rows_of_it].sum()))


def account(parts: Iterable[MeasuredPart], asked: Sequence[Asked] = ()) -> Accounts:
    """The sums over `parts`; without `asked`, rules behind the first of a filter go unheard."""
    accounts = Accounts()
    for part in parts:
        accounts.add(part, asked)
    return accounts


def total(fates: Mapping[str, Amount]) -> Amount:
    """All fates together."""
    documents = sum(amount.documents for amount in fates.values())
    return Amount(documents, sum(amount.bytes for amount in fates.values()))


def share_kept(fates: Mapping[str, Amount], *, of: Literal["documents", "bytes"]) -> float:
    """The share of documents, or of bytes, that stayed; 0 for nothing at all."""
    whole = getattr(total(fates), of)
    kept = getattr(fates.get(KEPT, Amount()), of)
    return kept / whole if whole else 0.0
