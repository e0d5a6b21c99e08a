"""A summary of the training content along the EU's template, from the manifests of a model.

Regulation (EU) 2024/1689, Article 53(1)(d); the European Commission's template of 24 July 2025 with
its three sections: general information, list of data sources, data processing. What manifests
cannot know (who the provider is, which contracts there are) is marked for the provider to state.
It is Markdown; the bands of size are the template's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.artifacts import CleanedCorpus, ExampleSet, ExportedModel, TokenShards
from pipeline.corpus.cleaned import iter_kept, kept_parts
from pipeline.corpus.document import metadata_column
from pipeline.reports.ancestry import Ancestry
from pipeline.reports.markdown import escaped
from pipeline.reports.numbers import count, percent, size
from pipeline.store.manifest import is_finished, read_manifest
from pipeline.tracking.versions import Version

TO_STATE = "*to be stated by the provider*"
BANDS = (
    (1_000_000_000, "less than 1 billion tokens"),
    (10_000_000_000_000, "1 billion to 10 trillion tokens"),
)
LARGEST_BAND = "more than 10 trillion tokens"
TOP_DOMAINS = 0.10  # the template: the top 10 % of domain names by size of content
CRAWLED, PUBLIC = ("warc", "html"), ("huggingface", "pydocs")
KINDS = {
    "warc": "web pages from archive files", "html": "web pages as files",
    "huggingface": "a data set in the Hugging Face layout",
    "pydocs": "documentation of the Python interpreter and of installed packages",
    "text": "text files", "jsonl": "JSON lines", "parquet": "Parquet files",
    "arrow": "Arrow files", "csv": "tables of separated values",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """What is on record about one source over all corpora of a model."""

    name: str
    kind: str
    documents: int
    bytes: int
    latest: str
    """When its newest part was read; ISO 8601."""
    licence: str


def training_content_summary(ancestry: Ancestry, version: Version | None) -> str:
    """The summary as Markdown."""
    corpora = ancestry.of(CleanedCorpus)
    sources = list(_sources(ancestry, corpora))
    sections = (
        f"# Public summary of training content\n\n{_preface(ancestry, version)}",
        _general(ancestry, version, corpora, sources),
        _data_sources(ancestry, sources, corpora),
        _processing(corpora),
        _records(ancestry),
    )
    return "\n\n".join(sections) + "\n"


def _preface(ancestry: Ancestry, version: Version | None) -> str:
    name = ancestry.model.ref if version is None else version.uri
    text = (
        f"Of `{name}`, along the template for Article 53(1)(d) of Regulation (EU) 2024/1689. "
        "Figures were taken from the manifests named at the end."
    )
    if ancestry.missing:
        gone = ", ".join(f"`{reference}`" for reference in ancestry.missing)
        text += f" **Incomplete**: {gone} can no longer be read, so what they held is not counted."
    return text


def _general(
    ancestry: Ancestry,
    version: Version | None,
    corpora: Sequence[CleanedCorpus],
    sources: Sequence[Source],
) -> str:
    shards = [one for one in ancestry.of(TokenShards) if one.stage == "tokenize"]
    tokens = sum(int(one.facts.get("train_tokens", 0)) for one in shards)
    band = next((text for most, text in BANDS if tokens < most), LARGEST_BAND)
    name = str(ancestry.model.facts.get("name", ancestry.model.ref))
    number = ""
    if version is not None:
        name, number = version.name, f", version {version.number}"
    start = (ancestry.checkpoint.manifest.config.get("start") if ancestry.checkpoint else {}) or {}
    dependency = "none: trained from scratch"
    if start.get("kind") == "huggingface":
        dependency = f"weights of another model ({TO_STATE})"
    latest = max((source.latest for source in sources), default="")
    return "\n".join([
        "## 1. General information",
        "### 1.1 Provider",
        f"- name and contact: {TO_STATE}",
        f"- authorised representative, where needed: {TO_STATE}",
        "### 1.2 Model",
        f"- name: {escaped(name)}{number}",
        f"- models it depends on: {dependency}",
        f"- date of placement on the Union market: {TO_STATE}",
        "### 1.3 Modalities and size",
        "- modality: text; no images, audio or video",
        f"- size: {band} ({count(tokens)} training tokens, "
        f"{size(sum(source.bytes for source in sources))} of text)",
        f"- latest date of data acquisition: not after {latest[:10] or TO_STATE} (when the newest "
        "part was read)",
        f"- languages, by share of bytes: {_languages(corpora)}",
    ])  # fmt: skip


def _data_sources(
    ancestry: Ancestry, sources: Sequence[Source], corpora: Sequence[CleanedCorpus]
) -> str:
    public = [source for source in sources if source.kind in PUBLIC]
    crawled = [source for source in sources if source.kind in CRAWLED]
    files = [source for source in sources if source not in public and source not in crawled]
    domains = _domains(corpora)
    lines = [
        "## 2. Data sources",
        "### 2.1 Publicly available data sets",
        _table(public) if public else "None on record as such.",
        "### 2.2 Private data sets from third parties",
        f"Not told apart from other files: of those in 2.6, {TO_STATE} which were licensed.",
        "### 2.3 Data crawled and scraped from online sources",
    ]
    if crawled:
        lines += [
            _table(crawled),
            f"Crawlers, their purpose, behaviour and period of collection: {TO_STATE} (this "
            "software reads archives and files; it crawls nothing itself).",
        ]
    else:
        lines.append("No web archive is among the sources.")
    lines.append(_told_domains(domains))
    lines += [
        "### 2.4 User data",
        "This software collects no data from users of a model or of other services; whether files "
        f"in 2.6 hold any: {TO_STATE}.",
        "### 2.5 Synthetic data",
        _synthetic(ancestry),
        "### 2.6 Other sources",
        _table(files) if files else "None.",
    ]
    return "\n\n".join(lines)


def _synthetic(ancestry: Ancestry) -> str:
    examples = ancestry.first(ExampleSet)
    made = ancestry.checkpoint is not None and ancestry.checkpoint.stage == "finetune"
    if not made or examples is None:
        return "None: no text generated by a model was made for the training."
    kind = str(examples.manifest.config.get("source", {}).get("kind", ""))
    number = count(sum((examples.facts.get("examples") or {}).values()))
    if kind in ("pydocs", "text"):
        how = "derived by rules from the documents above, not generated by a model"
    else:
        how = f"read from files of the provider's; whether a model wrote them: {TO_STATE}"
    return f"{number} pairs of prompts and answers (`{examples.ref}`), {how}."


def _processing(corpora: Sequence[CleanedCorpus]) -> str:
    dropped: Counter[str] = Counter()
    rewritten: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    for corpus in corpora:
        dropped.update(corpus.facts.get("dropped") or {})
        rewritten.update(corpus.facts.get("rewritten") or {})
        excluded.update(corpus.facts.get("exclusions") or {})
    objections = "no list of objections was given"
    if excluded["listed"]:
        objections = (
            f"a list of {count(excluded['listed'])} documents was excluded, of which "
            f"{count(excluded['removed'] + excluded['copies_removed'])} would have been trained on"
        )
    harmful = {k: v for k, v in dropped.items() if k.partition(".")[0] in ("url", "word_list")}
    hidden = {k: v for k, v in rewritten.items() if k.startswith("personal_data")}
    return "\n\n".join([
        "## 3. Data processing",
        "### 3.1 Reservation of rights (Article 4(3) of Directive (EU) 2019/790)",
        f"Measures before collection: {TO_STATE}. Here: {objections}.",
        "### 3.2 Removal of illegal content",
        "Documents dropped by lists of addresses and words: "
        f"{_counts(harmful) or 'none; no such list was in force'}. Personal data replaced: "
        f"{_counts(hidden) or 'none'}.",
        "### 3.3 Other processing",
        f"Documents dropped, by reason: {_counts(dropped) or 'none'}.",
    ])  # fmt: skip


def _records(ancestry: Ancestry) -> str:
    names = ", ".join(f"`{one.ref}`" for one in ancestry.found)
    return f"## Records\n\nTaken from the manifests of {names}."


def _sources(ancestry: Ancestry, corpora: Sequence[CleanedCorpus]) -> Iterator[Source]:
    exported = ancestry.first(ExportedModel)
    licences: Mapping[str, str] = {}
    if exported is not None:
        licences = exported.manifest.config.get("source_licenses") or {}
    kinds: dict[str, tuple[str, str]] = {}
    sums: dict[str, Counter[str]] = {}
    for corpus in corpora:
        for name, tally in (corpus.facts.get("by_source") or {}).items():
            sums.setdefault(name, Counter()).update(
                {key: int(tally.get(key) or 0) for key in ("documents_kept", "bytes_kept")}
            )
        for part in corpus.facts.get("raw_parts") or ():
            for name, kind, ended in _part_facts(corpus.root / str(part)):
                before = kinds.get(name, ("", ""))[1]
                kinds[name] = (kind, max(before, ended))
    for name, tally in sorted(sums.items(), key=lambda item: -item[1]["bytes_kept"]):
        kind, latest = kinds.get(name, ("", ""))
        yield Source(
            name, kind, tally["documents_kept"], tally["bytes_kept"], latest,
            licences.get(name, ""),
        )  # fmt: skip


def _part_facts(path: Path) -> Iterator[tuple[str, str, str]]:
    if is_finished(path):
        manifest = read_manifest(path)
        source: Mapping[str, Any] = manifest.config.get("source", {})
        ended = str(manifest.provenance.get("ended", ""))
        yield str(source.get("name", "")), str(source.get("kind", "")), ended


def _domains(corpora: Sequence[CleanedCorpus]) -> Counter[str]:
    """Bytes of kept text per domain name, of documents that know their address."""
    found: Counter[str] = Counter()
    for corpus in corpora:
        for part in kept_parts(corpus):
            for batch in iter_kept(part, ("doc_id", "text", "source", "metadata")):
                urls = metadata_column(batch, "url")
                for url, num_bytes in zip(urls, batch.num_bytes.tolist(), strict=True):
                    host = urlsplit(url).hostname if isinstance(url, str) else None
                    if host:
                        found[host.removeprefix("www.")] += num_bytes
    return found


def _told_domains(domains: Counter[str]) -> str:
    if not domains:
        return "No document on record has a web address."
    shown = domains.most_common(max(1, -(-len(domains) * int(100 * TOP_DOMAINS) // 100)))
    rows = "\n".join(f"| {escaped(name)} | {size(num_bytes)} |" for name, num_bytes in shown)
    return (
        f"{count(len(domains))} domain names; the {len(shown)} with the most text (top "
        f"{percent(TOP_DOMAINS, 0)}):\n\n| domain name | text |\n|---|---:|\n{rows}"
    )


def _languages(corpora: Sequence[CleanedCorpus]) -> str:
    sums: Counter[str] = Counter()
    for corpus in corpora:
        for name, tally in (corpus.facts.get("by_language") or {}).items():
            sums[name] += int(tally.get("bytes_kept") or 0)
    total = sum(sums.values())
    if not total:
        return "not determined"
    shares = [(name, value / total) for name, value in sums.most_common() if value]
    return ", ".join(f"{name} {percent(share)}" for name, share in shares)


def _table(sources: Sequence[Source]) -> str:
    rows = "\n".join(
        f"| {escaped(source.name)} | {KINDS.get(source.kind, escaped(source.kind) or '?')} | "
        f"{count(source.documents)} | {size(source.bytes)} | {source.latest[:10]} | "
        f"{escaped(source.licence) or TO_STATE} |"
        for source in sources
    )
    head = (
        "| source | what it is | documents | text | read | licence |\n|---|---|---:|---:|---|---|"
    )
    return f"{head}\n{rows}"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{escaped(name)} {count(number)}" for name, number in ordered if number)
