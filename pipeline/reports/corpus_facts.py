"""Everything a corpus report is made of, gathered in a few passes over the stored records.

    CleanedCorpus -> measures, removal lists, a few texts, quarantine files -> CorpusFacts

One part is in memory at a time; two reports of one corpus are gathered alike to the byte.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.accounts import Accounts, account
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
CLUSTERS = 20
MEMBERS = 12
QUARANTINED_SHOWN = 5


@dataclass(frozen=True)
class Member:
    """A document that left for another's sake."""

    doc_id: str
    jaccard: float | None
    reason: str


@dataclass
class Cluster:
    """A document that stayed and those that left because of it."""

    keeper: str
    size: int
    """Documents that left."""
    bytes: int = 0
    members: list[Member] = field(default_factory=list)
    """The first MEMBERS of them."""
    lowest: float = 1.0
    highest: float = 0.0
    """Range of the Jaccard similarities."""
    text: str | None = None
    """Of the keeper; None for a held-out document."""
    source: str = ""


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


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def largest_clusters(corpus: CleanedCorpus, limit: int = CLUSTERS) -> list[Cluster]:
    """Documents by who stayed in the end; passes over the removal lists, memory for the keepers.

    A copy of a document that left as a near-duplicate of a third counts for the third.
    """
    sizes: Counter[str] = Counter()
    for part in measured_parts(corpus):
        sizes.update(keeper for keeper in part.removed.column("duplicate_of").to_pylist() if keeper)
    links: dict[str, str] = {}
    for part in measured_parts(corpus):
        names = zip(
            part.removed.column("doc_id").to_pylist(),
            part.removed.column("duplicate_of").to_pylist(),
            strict=True,
        )
        links |= {name: keeper for name, keeper in names if keeper and name in sizes}
    whole: Counter[str] = Counter()
    for keeper, size in sizes.items():
        whole[_survivor(keeper, links)] += size
    largest = heapq.nsmallest(limit, whole.items(), key=lambda item: (-item[1], item[0]))
    clusters = {keeper: Cluster(keeper, size) for keeper, size in largest}
    for part in measured_parts(corpus):
        for row in part.removed.to_pylist():
            keeper = row["duplicate_of"]
            cluster = clusters.get(_survivor(keeper, links)) if keeper else None
            if cluster is not None:
                _join(cluster, row)
        _read_keepers(part, clusters)
    return list(clusters.values())


def _survivor(name: str, links: Mapping[str, str]) -> str:
    """Who stayed for `name`; a circle, which only damaged lists have, ends where it closes."""
    seen = {name}
    while name in links and links[name] not in seen:
        name = links[name]
        seen.add(name)
    return name


def _join(cluster: Cluster, row: Mapping[str, Any]) -> None:
    jaccard = row["jaccard"]
    cluster.bytes += row["bytes"]
    if len(cluster.members) < MEMBERS:
        cluster.members.append(Member(row["doc_id"], jaccard, row["reason"]))
    if jaccard is not None:
        cluster.lowest = min(cluster.lowest, jaccard)
        cluster.highest = max(cluster.highest, jaccard)


def _read_keepers(part: MeasuredPart, clusters: Mapping[str, Cluster]) -> None:
    number = -1
    rows: dict[int, str] = {}
    for row, (doc_id, passed) in enumerate(zip(part.doc_ids, part.passed, strict=True)):
        number += bool(passed)
        if passed and doc_id in clusters and clusters[doc_id].text is None:
            rows[number] = doc_id
            clusters[doc_id].source = part.sources[row]
    for number, text in read_texts(part.path / DOCUMENTS, list(rows)).items():
        clusters[rows[number]].text = text


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
