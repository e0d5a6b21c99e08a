"""The documents behind the numbers: kept, dropped by reason, duplicated, unreadable."""

from collections.abc import Mapping
from typing import Any

from pipeline.corpus.measured import KEPT
from pipeline.corpus.samples import Sample
from pipeline.reports.blocks import Block, Excerpt, Fold, Section, Table, Text
from pipeline.reports.corpus_facts import (
    SAMPLES_KEPT,
    SAMPLES_PER_FATE,
    Cluster,
    CorpusFacts,
    Quarantined,
)
from pipeline.reports.corpus_sections import ordered_fates
from pipeline.reports.numbers import count, percent, size

_MAX_CHARS = 900


def samples_section(facts: CorpusFacts) -> Section | None:
    """Some kept documents, and some of every reason to drop, with the value and its limit."""
    samples = facts.samples
    if not samples:
        return None
    blocks: list[Block] = [Text("Chosen by a hash of the document's id, so nobody picked them.")]
    kept = samples.get(KEPT, [])[:SAMPLES_KEPT]
    if kept:
        accounts = facts.accounts
        told = f"{count(accounts.kept.documents)} documents, {size(accounts.kept.bytes)}"
        cards = tuple(_excerpt(facts, sample) for sample in kept)
        blocks.append(Fold("kept", told, cards, is_open=True))
    for fate in ordered_fates(facts):
        amount = facts.accounts.fates[fate]
        cards = tuple(_excerpt(facts, sample) for sample in samples[fate][:SAMPLES_PER_FATE])
        share = percent(amount.documents / max(facts.accounts.judged.documents, 1))
        documents = f"{count(amount.documents)} document{'s' if amount.documents > 1 else ''}"
        told = f"{documents} ({share}), {size(amount.bytes)}"
        blocks.append(Fold(fate, told, cards))
    return Section("samples", "What stayed, what went", tuple(blocks))


def _excerpt(facts: CorpusFacts, sample: Sample) -> Excerpt:
    record = sample.record
    known = [sample.source, record.get("language"), size(len(sample.text.encode("utf-8")))]
    where = place_of(record)
    if where:
        known.append(where)
    title, told = sample.doc_id, " · ".join(str(part) for part in known if part)
    if sample.fate == KEPT:
        return Excerpt(title, told, clipped(sample.text))
    return Excerpt(title, told, clipped(sample.text), _verdict(facts, sample), "bad")


def place_of(record: Mapping[str, Any]) -> str:
    """`web.jsonl, row 12`: where a document stood before it was read, as far as is on record."""
    file, row = record.get("file"), record.get("row")
    named = [str(file)] if file else []
    return ", ".join([*named, f"row {row}"] if row not in (None, "") else named)


def _verdict(facts: CorpusFacts, sample: Sample) -> str:
    if sample.removal is not None:
        return removal_told(sample.removal)
    objections = list(sample.record.get("reasons") or [sample.fate])
    told = []
    for reason in objections:
        why = facts.why(reason, sample.record)
        told.append(f"{reason}: {why}" if why else reason)
    return ". ".join(told)


def removal_told(removal: Mapping[str, Any]) -> str:
    """`near_duplicate of web/7, Jaccard 0.93`."""
    told = str(removal["reason"])
    if removal.get("duplicate_of"):
        told += f" of {removal['duplicate_of']}"
        if removal.get("duplicate_in"):
            told += f" in {removal['duplicate_in']}"
    if removal.get("jaccard") is not None:
        told += f", Jaccard {removal['jaccard']:.3f}"
    for name, meaning in (
        ("overlap", "of its 13-grams are held-out text"),
        ("covered", "of a held-out document is in it"),
    ):
        if removal.get(name):
            told += f", {percent(removal[name])} {meaning}"
    return told


def clipped(text: str, length: int = _MAX_CHARS) -> str:
    """The beginning, and how much follows."""
    if len(text) <= length + 80:
        return text
    return f"{text[:length]}\n… {count(len(text) - length)} more characters"


def clusters_section(facts: CorpusFacts) -> Section | None:
    """The largest groups of documents that were removed for one another's sake."""
    if not facts.clusters:
        return None
    told = Text(
        "One document of each group stayed. The Jaccard similarity is that of the sets of "
        "overlapping word sequences, true and not estimated."
    )
    folds = tuple(_cluster(cluster) for cluster in facts.clusters)
    return Section("duplicates", f"The {len(folds)} largest groups of duplicates", (told, *folds))


def _cluster(cluster: Cluster) -> Fold:
    if cluster.text is None:
        where = f"in {cluster.keeper_in}" if cluster.keeper_in else "not in this corpus"
        kept = Excerpt(cluster.keeper, f"the one that stayed, {where}", "")
    else:
        facts = f"{cluster.source} · the one that stayed"
        kept = Excerpt(cluster.keeper, facts, clipped(cluster.text, 400))
    rows = tuple(
        (m.doc_id, "-" if m.jaccard is None else f"{m.jaccard:.3f}", m.reason)
        for m in cluster.members
    )
    more = cluster.size - 1 - len(rows)
    members = Table(
        ("left because of it", "Jaccard", "reason"), rows, frozenset({1}),
        caption=f"and {count(more)} more" if more > 0 else "",
    )  # fmt: skip
    detail = f"{count(cluster.size - 1)} left"
    if cluster.jaccards:
        span = dict.fromkeys((f"{cluster.jaccards[0]:.2f}", f"{cluster.jaccards[-1]:.2f}"))
        detail += f", Jaccard {' to '.join(span)}"
    return Fold(cluster.keeper, detail, (kept, members))


def quarantine_section(facts: CorpusFacts) -> Section | None:
    """Records that never became documents, with file and position."""
    if not facts.quarantined:
        return None
    blocks: list[Block] = [
        Text("Bad records are set aside and counted; everything around them is read.")
    ]
    blocks += [_quarantined(found) for found in facts.quarantined]
    return Section("quarantine", "What could not be read", tuple(blocks))


def _quarantined(found: Quarantined) -> Fold:
    rows = tuple(
        (str(r.get("file")), str(r.get("position")), str(r.get("detail", "")))
        for r in found.examples
    )
    more = found.count - len(rows)
    table = Table(
        ("file", "position", "what"), rows, code=frozenset({0, 1}),
        caption=f"and {count(more)} more" if more > 0 else "",
    )  # fmt: skip
    return Fold(
        found.reason, f"{count(found.count)} record{'s' if found.count > 1 else ''}", (table,)
    )
