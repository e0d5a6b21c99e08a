"""Personal data gives way to placeholders: addresses, phone and identity numbers, cards, keys.

    e-mail, IPv4  -> datatrove's stand-ins (the same bytes as its PIIFormatter), or placeholders
    all others    -> <PHONE_NUMBER>, <CREDIT_CARD>, ...; of overlapping finds the gravest kind wins

Every find is counted, per document and in total. The stand-ins take turns anew in each document,
so a document's text depends on nothing but itself.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Measures, Rewrite, Rewritten
from pipeline.corpus.rewrites.addresses import email_spans, ip_spans
from pipeline.corpus.rewrites.credentials import api_key_spans, private_key_spans
from pipeline.corpus.rewrites.numbers import number_spans
from pipeline.corpus.rewrites.spans import I64, Text, rank_in_document, replace

Kind = Literal[
    "emails", "ips", "private_keys", "api_keys", "credit_cards", "cn_ids", "us_ssns", "phones"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""From the gravest to the least grave but for the first two, which are looked for before."""

PLACEHOLDERS: dict[str, bytes] = {
    "emails": b"<EMAIL_ADDRESS>",
    "ips": b"<IP_ADDRESS>",
    "private_keys": b"<PRIVATE_KEY>",
    "api_keys": b"<API_KEY>",
    "credit_cards": b"<CREDIT_CARD>",
    "cn_ids": b"<CN_ID_NUMBER>",
    "us_ssns": b"<US_SSN>",
    "phones": b"<PHONE_NUMBER>",
}
# datatrove 0.10.1, PIIFormatter: domains kept for examples, addresses nobody answered at.
EXAMPLE_EMAILS = (b"email@example.com", b"firstname.lastname@example.org")
EXAMPLE_IPS = (
    b"22.214.171.124",
    b"126.96.36.199",
    b"188.8.131.52",
    b"184.108.40.206",
    b"220.127.116.11",
    b"18.104.22.168",
)


class PersonalData(Rewrite):
    """Which kinds of personal data are replaced, and by what."""

    kind: Literal["personal_data"] = "personal_data"
    replace: tuple[Kind, ...] = Field(
        KINDS, title="Replace", description="The kinds that are looked for.", min_length=1
    )
    addresses: Literal["examples", "placeholders"] = Field(
        "examples",
        title="E-mail and IP addresses become",
        description="examples: email@example.com and the like, byte for byte as datatrove 0.10.1 "
        "does; placeholders: <EMAIL_ADDRESS>, <IP_ADDRESS>.",
    )
    public_ips_only: bool = Field(
        True,
        title="Public IP addresses only",
        description="Addresses of private networks (192.168.0.1) name nobody and stay.",
    )

    def apply(self, batch: TextBatch) -> Rewritten:
        """Counts of replacements by kind; (N,) int32 measures of the same names."""
        text = Text.of(batch)
        measures: Measures = {kind: np.zeros(len(batch), np.int32) for kind in self.replace}
        if len(batch):
            text = self._without_emails(text, measures)
            text = self._without_ips(text, measures)
            text = self._without_others(text, measures)
        counts = {kind: int(found.sum()) for kind, found in measures.items()}
        counts = {kind: count for kind, count in sorted(counts.items()) if count}
        return Rewritten(text.into(batch) if counts else batch, counts, measures)

    def _without_emails(self, text: Text, measures: Measures) -> Text:
        if "emails" not in self.replace:
            return text
        starts, ends = email_spans(text)
        return self._in_turn("emails", text, starts, ends, EXAMPLE_EMAILS, measures)

    def _without_ips(self, text: Text, measures: Measures) -> Text:
        if "ips" not in self.replace:
            return text
        starts, ends = ip_spans(text, public_only=self.public_ips_only)
        return self._in_turn("ips", text, starts, ends, EXAMPLE_IPS, measures)

    def _in_turn(
        self,
        kind: Kind,
        text: Text,
        starts: I64,
        ends: I64,
        examples: Sequence[bytes],
        measures: Measures,
    ) -> Text:
        """Replace spans by the examples one after the other, anew in each document."""
        if not len(starts):
            return text
        documents = text.documents_of(starts)
        measures[kind] = np.bincount(documents, minlength=len(text)).astype(np.int32)
        if self.addresses == "placeholders":
            examples = (PLACEHOLDERS[kind],)
        turns = rank_in_document(documents) % len(examples)
        return replace(text, starts, ends, [examples[turn] for turn in turns.tolist()])

    def _without_others(self, text: Text, measures: Measures) -> Text:
        wanted = frozenset(self.replace)
        found: list[tuple[str, int, int]] = []
        if "private_keys" in wanted:
            found += private_key_spans(text)
        if "api_keys" in wanted:
            found += api_key_spans(text)
        if wanted & {"credit_cards", "cn_ids", "us_ssns", "phones"}:
            found += number_spans(text, wanted)
        taken = _without_overlaps(found)
        if not taken:
            return text
        starts = np.array([start for _, start, _ in taken], np.int64)
        ends = np.array([end for _, _, end in taken], np.int64)
        documents = text.documents_of(starts)
        kinds = np.array([kind for kind, _, _ in taken])
        for kind in np.unique(kinds).tolist():
            owners = documents[kinds == kind]
            measures[kind] = np.bincount(owners, minlength=len(text)).astype(np.int32)
        return replace(text, starts, ends, [PLACEHOLDERS[kind] for kind, _, _ in taken])


def _without_overlaps(found: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Ascending spans; where two overlap the graver kind stays, then the one that begins first."""
    rank = {str(kind): number for number, kind in enumerate(KINDS)}
    taken: list[tuple[str, int, int]] = []
    for kind, start, end in sorted(found, key=lambda item: (item[1], rank[item[0]], -item[2])):
        while taken and start < taken[-1][2] and rank[kind] < rank[taken[-1][0]]:
            taken.pop()
        if not taken or start >= taken[-1][2]:
            taken.append((kind, start, end))
    return taken
