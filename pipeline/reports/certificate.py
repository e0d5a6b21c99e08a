"""The birth certificate of a model: one page from its documents to the verdict of the gate.

    funnel -> tokens -> curves -> masks -> evaluation -> verdict

Every figure names the artifacts it was taken from, and each name leads to that artifact's manifest
further down the same page. The page is self-contained; the manifests lie beside it as files too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artifacts import DIRECTORIES, Artifact, EvalReport, ExportedModel
from pipeline.reports.ancestry import Ancestry, ancestry_of, facts_of
from pipeline.reports.blocks import (
    Block,
    Document,
    Figure,
    Figures,
    Fold,
    Origin,
    Section,
    Table,
    Text,
    Tone,
    anchor_of,
)
from pipeline.reports.classes import classes_section
from pipeline.reports.evaluation_sections import figures_section, groups_section, run_sections
from pipeline.reports.facts import RunFacts
from pipeline.reports.html import render_html
from pipeline.reports.masked import masked_section
from pipeline.reports.measured import answers_section, baselines_section
from pipeline.reports.numbers import count, number, short_count, size
from pipeline.reports.sections import corpus_section, learning_section, tokens_section
from pipeline.reports.tuning import tuning_section
from pipeline.store.files import read_json, write_bytes, write_text
from pipeline.store.fingerprint import short
from pipeline.store.manifest import MANIFEST
from pipeline.tracking.ledger import Judgement
from pipeline.tracking.versions import CHAMPION, EVAL_SET_USES_TAG, REASON_TAG, Version

SHOWN_FILES = 20  # of a manifest's; the file beside the page has all
GATE_TAGS = "gristmill.gate."


@dataclass(frozen=True)
class Certificate:
    """The page and what lies beside it."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    ancestry: Ancestry

    @property
    def html(self) -> str:
        """The page as one HTML text."""
        return render_html(self.title, self.subtitle, self.sections)


def certificate_of(
    model: Artifact, version: Version | None = None, judgements: Sequence[Judgement] = ()
) -> Certificate:
    """The certificate of an export or a checkpoint, with what the registry says if it is there."""
    ancestry = ancestry_of(model)
    run = facts_of(ancestry)
    sections = [
        _headline(run, version, ancestry),
        *_stations(run),
        _verdict(version, judgements),
        _lineage(ancestry),
    ]
    made = model.manifest.provenance
    title = model.ref if version is None else f"{version.name}, version {version.number}"
    subtitle = f"{model.ref} · made {made.get('ended', '')} · commit {made.get('git_commit')}"
    kept = tuple(section for section in sections if section is not None and section.blocks)
    return Certificate(title, subtitle, kept, ancestry)


def write_certificate(
    model: ExportedModel, version: Version, judgements: Sequence[Judgement], *, root: Path
) -> list[Path]:
    """Write the page and the manifests under `root/certificates`; the paths, the page first."""
    certificate = certificate_of(model, version, judgements)
    directory = root / "certificates" / f"{version.name}-{short(model.fingerprint)}"
    page = directory / "certificate.html"
    write_text(page, certificate.html)
    paths = [page]
    for artifact in certificate.ancestry.found:
        path = directory / "manifests" / f"{artifact.stage}-{short(artifact.fingerprint)}.json"
        write_bytes(path, (artifact.path / MANIFEST).read_bytes())
        paths.append(path)
    return paths


def _stations(run: RunFacts) -> list[Section | None]:
    """The way of the text, each with where its figures were taken from."""
    report = _report(run)
    evaluation = (report, run.eval_set)
    return [
        _from(corpus_section(run), run.corpus, run.eval_set),
        _from(tokens_section(run), run.tokenizer, run.shards, run.examples),
        _from(learning_section(run), run.base, run.tuned),
        _from(_masks(run), run.examples, run.tuned or run.base),
        _from(_figures(run), *evaluation),
        _from(baselines_section(run), run.baselines, report),
        _from(masked_section(run), *evaluation),
        _from(classes_section(run), *run.class_evals),
        _from(answers_section(run), report, run.examples),
        *(_from(section, report) for section in run_sections(run)),
    ]


def _from(section: Section | None, *sources: Artifact | None) -> Section | None:
    """The section with its origin; None stays None."""
    if section is None:
        return None
    references = tuple(source.ref for source in sources if source is not None)
    origin = (Origin(references),) if references else ()
    return replace(section, blocks=(*section.blocks, *origin))


def _headline(run: RunFacts, version: Version | None, ancestry: Ancestry) -> Section:
    figures = []
    if run.corpus is not None:
        read = f"of {count(run.corpus.facts.get('documents_read'))} read"
        kept = count(run.corpus.facts.get("documents_kept"))
        figures.append(Figure("documents trained on", kept, read))
    checkpoint = ancestry.checkpoint
    if checkpoint is not None:
        facts = checkpoint.facts
        trained = f"{short_count(facts.get('tokens'))} tokens"
        figures.append(Figure("parameters", short_count(facts.get("num_parameters")), trained))
    figures += _scores(run)
    if version is not None:
        tone: Tone = "good" if CHAMPION in version.aliases else "plain"
        standing = ", ".join(version.aliases) or "no alias"
        figures.append(Figure("in the registry", standing, version.uri, tone))
    sources = (run.corpus, checkpoint, _report(run))
    origin = Origin(tuple(source.ref for source in sources if source is not None))
    return Section("headline", "", (Figures(tuple(figures)), origin))


def _report(run: RunFacts) -> EvalReport | None:
    """What the model itself was measured with."""
    report = run.tuned_eval or run.base_eval or run.masked_eval
    return report or next(iter(run.class_evals), None)


def _scores(run: RunFacts) -> list[Figure]:
    report = _report(run)
    if report is None:
        return []
    content = read_json(report.path / "report.json")
    if "masked" in content:
        row, unit = content["masked"], "nats_per_token"
    elif "classes" in content:
        row, unit = content["classes"], "accuracy"
    elif "targets" in content:
        row, unit = content["targets"], "nats_per_token"
    else:
        row, unit = content.get("perplexity", {}), "bits_per_byte"
    interval = f"{number(row.get(f'{unit}_low'))} to {number(row.get(f'{unit}_high'))}"
    found = [Figure(unit.replace("_", " "), number(row.get(unit)), interval)]
    loss = content.get("sft", {}).get("response_loss")
    if loss is not None and run.tuned is not None:
        found.append(Figure("response loss", number(loss), "nats per answer token"))
    return found


def _masks(run: RunFacts) -> Section | None:
    """Which tokens were trained: all of a base model's, the answers of a tuned one's."""
    if run.tuned is not None:
        return tuning_section(run)
    if run.base is None:
        return None
    if run.masked_eval is not None and "targets" in run.masked_eval.manifest.config:
        text = (
            "The decoder learns every token of the spans that were cut out of the encoder's text, "
            "from the true tokens before it; the encoder's own tokens are only read."
        )
    elif run.masked_eval is not None:
        text = (
            "An encoder learns the tokens that its objective hides or changes in each row, from "
            "both sides; all others are only read."
        )
    else:
        text = (
            "Every token of the text is trained: each is predicted from those before it in its own "
            "document. Padding is not, and nothing is predicted across the border of two documents."
        )
    objective = run.base.manifest.config.get("objective")
    blocks: list[Block] = [Text(text)]
    if objective:
        settings = tuple((str(name), str(value)) for name, value in objective.items())
        blocks.append(Table(("objective", ""), settings))
    return Section("masks", "Which tokens were trained", tuple(blocks))


def _figures(run: RunFacts) -> Section | None:
    """Bits per byte and perplexities, whole and by source and language."""
    report = run.tuned_eval or run.base_eval
    if report is None:
        return None
    content = read_json(report.path / "report.json")
    if "window" not in content.get("perplexity", {}):
        return None  # a report of another version: its headline stands above
    named = [("tuned" if run.tuned is not None else "base", content)]
    blocks = (*figures_section(named).blocks, *groups_section(named).blocks)
    return Section("evaluation", "Measured on held-out text", blocks)


def _verdict(version: Version | None, judgements: Sequence[Judgement]) -> Section | None:
    """What the gate said, by which figures, and where the version stands now."""
    if version is None:
        return None
    tags = version.tags
    is_champion = CHAMPION in version.aliases
    standing = ", ".join(f"@{alias}" for alias in version.aliases) or "no alias"
    blocks: list[Block] = [
        Text(f"{version.uri}, {standing}. {tags.get(REASON_TAG, '')}",
             "good" if is_champion else "plain"),
    ]  # fmt: skip
    figures = [
        (name.removeprefix(GATE_TAGS).replace("_", " "), value)
        for name, value in sorted(tags.items())
        if name.startswith(GATE_TAGS)
    ]
    if figures:
        caption = (
            "delta, low and high: candidate minus champion, per byte or answer, with its interval; "
            "worst group: relative change of the source or language that lost most."
        )
        blocks.append(Table(("gate", ""), tuple(figures), frozenset({1}), caption=caption))
    if EVAL_SET_USES_TAG in tags:
        blocks.append(Text(f"{tags[EVAL_SET_USES_TAG]}: the more, the less its figures are worth."))
    rows = tuple(
        ("promoted" if one.promoted else "refused", one.eval_set_name, one.reason)
        for one in judgements
        if (one.name, one.export) == (version.name, version.fingerprint)
    )
    if len(rows) > 1:
        blocks.append(Table(("verdict", "eval set", "reason"), rows))
    reports = {
        f"evaluate@{short(report)}"
        for one in judgements
        if (one.name, one.export) == (version.name, version.fingerprint)
        for report in (one.report, one.champion_report)
        if report
    }
    blocks += [Text(f"Compared by {', '.join(sorted(reports))}.")] if reports else []
    return Section("verdict", "Verdict", tuple(blocks))


def _lineage(ancestry: Ancestry) -> Section:
    """From the documents to the weights: every artifact, and its manifest to look into."""
    rows = tuple(
        (
            one.stage, one.ref, str(one.manifest.provenance.get("ended", "")),
            size(sum(file.bytes for file in one.manifest.files.values())),
            _inputs(one.manifest.inputs),
        )
        for one in _ordered(ancestry)
    )  # fmt: skip
    table = Table(
        ("stage", "artifact", "made", "size", "from"), rows, frozenset({3}), code=frozenset({1, 4})
    )
    blocks: list[Block] = [table]
    if ancestry.missing:
        gone = ", ".join(ancestry.missing)
        blocks.append(Text(f"No longer under this root: {gone}.", "bad"))
    blocks += [
        Fold(one.ref, f"{one.path.parent.name}/{one.path.name}/{MANIFEST}",
             (Document(anchor_of(one.ref), _shown(one)),))
        for one in _ordered(ancestry)
    ]  # fmt: skip
    return Section("lineage", "From documents to weights", tuple(blocks))


def _ordered(ancestry: Ancestry) -> list[Artifact]:
    """In the order of the graph."""
    order = list(DIRECTORIES)
    return sorted(ancestry.found, key=lambda one: (order.index(one.stage), one.ref))


def _inputs(references: Sequence[str]) -> str:
    """The inputs; many parts of raw text as their number."""
    read = [name for name in references if name.partition("@")[0] == "read"]
    others = [name for name in references if name not in read]
    return ", ".join([*(read if len(read) <= 2 else [f"{len(read)} parts as read"]), *others])


def _shown(artifact: Artifact) -> str:
    """The manifest as text; of many files, parts and inputs the first few."""
    document: dict[str, Any] = read_json(artifact.path / MANIFEST)
    files: Mapping[str, Any] = document.get("files", {})
    if len(files) > SHOWN_FILES:
        kept = dict(list(files.items())[:SHOWN_FILES])
        document["files"] = {**kept, "...": f"{len(files) - SHOWN_FILES} more"}
    for name in ("parts", "inputs"):
        values = document.get(name, [])
        if len(values) > SHOWN_FILES:
            more = f"... {len(values) - SHOWN_FILES} more"
            document[name] = [*values[:SHOWN_FILES], more]
    return json.dumps(document, ensure_ascii=False, indent=1)
