"""Everything a corpus report is made of, gathered in a few passes over the stored records.

    CleanedCorpus -> measures, removal lists, a few texts, quarantine files -> CorpusFacts

One part is in memory at a time; two reports of one corpus are gathered alike to the byte.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.accounts import Accounts, account
from pipeline.corpus.bias import ANY_RULE, MENTIONS, BiasCounts, BiasRow, bias_rows
from pipeline.corpus.filters.base import Step
from pipeline.corpus.histograms import Histogram, histograms
from pipeline.corpus.measured import MeasuredCorpus, MeasuredPart, measured_parts, steps_of
from pipeline.corpus.objections import Asked, asked_filters
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.corpus.samples import Sample, read_texts, sample_documents
from pipeline.corpus.thresholds import Threshold, corpus_thresholds, decontamination_thresholds
from pipeline.store.errors import ArtifactError
from pipeline.store.manifest import read_manifest

SAMPLES_PER_FATE = 3
SAMPLES_KEPT = 6
QUARANTINED_SHOWN = 5


@dataclass(frozen=True)
class Member:
    """A document that left for another's sake."""

    doc_id: str
    jaccard: float | None
    reason: str


@dataclass(frozen=True)
class Cluster:
    """A document that stayed and those that left because of it."""

    keeper: str
    size: int
    """Documents, the one that stayed among them."""
    members: tuple[Member, ...]
    """Some of those that left."""
    keeper_in: str = ""
    """The earlier corpus of the keeper; empty for this one."""
    text: str | None = None
    """Of the keeper; None when it is not among the documents of this corpus."""
    source: str = ""

    @property
    def jaccards(self) -> list[float]:
        """Of the members for which one was computed, ascending."""
        return sorted(m.jaccard for m in self.members if m.jaccard is not None)


@dataclass(frozen=True)
class Quarantined:
    """Records of one reason that never became documents."""

    reason: str
    count: int
    examples: tuple[Mapping[str, Any], ...]
    """`{file, position, reason, detail}`."""


@dataclass(frozen=True)
class CorpusFacts:
    """One corpus, ready to be told."""

    corpus: CleanedCorpus

    @cached_property
    def parts(self) -> MeasuredCorpus:
        """Its parts, as often as needed."""
        return MeasuredCorpus(self.corpus)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Its steps; none when they are of another version, whose thresholds nobody knows now."""
        try:
            return steps_of(self.corpus)
        except ArtifactError:
            return ()

    @cached_property
    def accounts(self) -> Accounts:
        """Documents and bytes by fate, source, language and rule."""
        return account(self.parts, self.asked)

    @cached_property
    def asked(self) -> list[Asked]:
        """Its filters, ready to be asked about documents."""
        return asked_filters(self.steps, self.parts)

    @cached_property
    def thresholds(self) -> dict[str, list[Threshold]]:
        """By column `kind.measure`."""
        across = decontamination_thresholds(self.corpus.manifest.config)
        return corpus_thresholds(self.asked) | across

    @cached_property
    def histograms(self) -> list[Histogram]:
        """One per measure."""
        return histograms(self.parts)

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """Some documents of every fate."""
        return sample_documents(self.parts, per_fate=max(SAMPLES_PER_FATE, SAMPLES_KEPT))

    @cached_property
    def clusters(self) -> list[Cluster]:
        """The largest groups of duplicates, the largest first."""
        return largest_clusters(self.corpus)

    @cached_property
    def bias(self) -> list[BiasRow]:
        """Rule by group of people mentioned; empty where mentions were not looked for.

        A rule is compared over the documents it applies to: most words of a group belong to one
        language, and so do most rules.
        """
        labels = {rule.partition(".")[0] for rule in self.accounts.rules}
        counts = {name: BiasCounts() for name in (*sorted(labels), ANY_RULE)}
        for part in self.parts:
            if not any(name.startswith(MENTIONS) for name in part.table.column_names):
                return []
            for name, count in counts.items():
                count.add(part.table if name == ANY_RULE else _applied(part, name))
        rows = [
            row
            for name, count in counts.items()
            if count.documents
            for row in bias_rows(count)
            if row.rule.partition(".")[0] == name
        ]
        return sorted(rows, key=lambda row: (not row.flagged, -(row.ratio or 0)))

    @cached_property
    def quarantined(self) -> list[Quarantined]:
        """Bad records by reason, the most frequent first."""
        return quarantined(self.corpus)

    def why(self, reason: str, record: Mapping[str, Any]) -> str:
        """`duplicate_lines 0.43, limit ≤ 0.3`; empty when no measure stands behind a reason."""
        told = []
        for column, thresholds in self.thresholds.items():
            value = record.get(column)
            crossed = [t for t in thresholds if t.reason == reason]
            if isinstance(value, int | float) and crossed:
                beyond = [t for t in crossed if not t.holds(value)]
                if beyond:
                    bounds = " or ".join(dict.fromkeys(t.bound for t in beyond))
                    told.append(f"{column.partition('.')[2]} is {_short(value)}, must be {bounds}")
        return "; ".join(told)


def _applied(part: MeasuredPart, label: str) -> pa.Table:
    """The measures of the documents that a step saw; all where it left no column."""
    columns = [name for name in part.measure_names if name.partition(".")[0] == label]
    if not columns:
        return part.table
    return part.table.filter(pc.is_valid(part.table.column(columns[0])))


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def largest_clusters(corpus: CleanedCorpus) -> list[Cluster]:
    """Groups of duplicates as deduplication wrote them down, with the text of who stayed."""
    found = corpus.facts.get("clusters", {}).get("largest", [])
    texts = _texts_of(corpus, {row["keeper"] for row in found if not row.get("keeper_in")})
    clusters = []
    for row in found:
        members = tuple(Member(m["doc_id"], m["jaccard"], m["reason"]) for m in row["members"])
        source, text = texts.get(row["keeper"], ("", None))
        clusters.append(
            Cluster(row["keeper"], row["size"], members, row.get("keeper_in", ""), text, source)
        )
    return clusters


def _texts_of(corpus: CleanedCorpus, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """(source, text) of some kept documents by id."""
    found: dict[str, tuple[str, str]] = {}
    for part in measured_parts(corpus) if wanted else ():
        everyone = zip(part.doc_ids, part.sources, part.passed, strict=True)
        passed = [(doc_id, source) for doc_id, source, stayed in everyone if stayed]
        rows = [row for row, (doc_id, _) in enumerate(passed) if doc_id in wanted]
        for row, text in read_texts(part.path / DOCUMENTS, rows).items():
            doc_id, source = passed[row]
            found.setdefault(doc_id, (source, text))
    return found


def raw_part_paths(corpus: CleanedCorpus) -> list[Path]:
    """The parts as they were read; those that are gone are left out."""
    paths = [corpus.root / name for name in corpus.facts.get("raw_parts", ())]
    return [path for path in paths if path.is_dir()]


def quarantined(corpus: CleanedCorpus) -> list[Quarantined]:
    """Bad records by reason with a few places, from the parts as read."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path in dict.fromkeys(raw_part_paths(corpus)):
        counts.update(read_manifest(path).facts.get("quarantine_reasons", {}))
        for record in _quarantine_lines(path / "quarantine.jsonl"):
            shown = examples[str(record.get("reason"))]
            if len(shown) < QUARANTINED_SHOWN:
                shown.append(record)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Quarantined(name, count, tuple(examples[name])) for name, count in ordered]


def _quarantine_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        return
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ArtifactError(
                    f"{path} is damaged ({error}); delete {path.parent} and run again"
                ) from error
            if isinstance(record, dict):
                yield record
