"""The report of one cleaned corpus: what went in, what stayed, and why the rest did not.

    write_corpus_report(corpus, root) -> root/reports/corpus-<fingerprint>/report.html

One page without script or request. The same corpus gives the same bytes.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import CleanedCorpus
from pipeline.reports.blocks import Section, Table
from pipeline.reports.corpus_examples import (
    clusters_section,
    quarantine_section,
    samples_section,
)
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_rules import measures_section, rules_section
from pipeline.reports.corpus_sections import (
    bias_section,
    changes_section,
    funnel_section,
    funnel_steps,
    groups_section,
    headline,
    mixing_section,
)
from pipeline.reports.html import render_html
from pipeline.store.files import write_text
from pipeline.store.fingerprint import short


def report_path(corpus: CleanedCorpus, root: Path) -> Path:
    """Where the report of a corpus lies."""
    return root / "reports" / f"corpus-{short(corpus.fingerprint)}" / "report.html"


def write_corpus_report(corpus: CleanedCorpus, root: Path) -> Path:
    """Write the report and return its path; ArtifactError for a damaged record."""
    path = report_path(corpus, root)
    write_text(path, corpus_html(corpus))
    return path


def corpus_html(corpus: CleanedCorpus) -> str:
    """The page."""
    facts = CorpusFacts(corpus)
    return render_html("From raw text to training text", _subtitle(corpus), corpus_sections(facts))


def corpus_sections(facts: CorpusFacts) -> list[Section]:
    """Every section there is something to say in."""
    made = (
        headline(facts),
        funnel_section(facts),
        groups_section(facts, "source"),
        groups_section(facts, "language"),
        rules_section(facts),
        measures_section(facts),
        clusters_section(facts),
        samples_section(facts),
        changes_section(facts),
        bias_section(facts),
        mixing_section(facts),
        quarantine_section(facts),
        provenance_section(facts),
    )
    return [section for section in made if section is not None and section.blocks]


def corpus_table(corpus: CleanedCorpus) -> list[dict[str, Any]]:
    """`step, documents, share, bytes, share_of_bytes`: the funnel, for Prefect and MLflow."""
    steps = funnel_steps(CorpusFacts(corpus), by_rule=True)
    whole = steps[0]
    return [
        {
            "step": step.label,
            "documents": -step.documents if step.kind == "loss" else step.documents,
            "share": round(step.documents / max(whole.documents, 1), 4),
            "bytes": -(step.bytes or 0) if step.kind == "loss" else step.bytes,
            "share_of_bytes": round((step.bytes or 0) / max(whole.bytes or 0, 1), 4),
        }
        for step in steps
    ]


def provenance_section(facts: CorpusFacts) -> Section:
    """What the corpus was made from and by what."""
    manifest = facts.corpus.manifest
    made = manifest.provenance
    rows = (
        ("corpus", facts.corpus.ref),
        ("made from", ", ".join(_inputs(manifest.inputs))),
        ("commit", str(made.get("git_commit") or "not in a git checkout")),
        ("machine", str(made.get("platform", "-"))),
        ("parts", f"{len(manifest.parts)}"),
    )
    return Section("provenance", "Provenance", (Table(("", ""), rows),))


def _inputs(references: Sequence[str]) -> list[str]:
    """The inputs; many parts as their number."""
    read = [name for name in references if name.startswith("read@")]
    others = [name for name in references if not name.startswith("read@")]
    return [*(read if len(read) <= 3 else [f"{len(read)} parts as read"]), *others]


def _subtitle(corpus: CleanedCorpus) -> str:
    ended = str(corpus.manifest.provenance.get("ended", ""))
    when = datetime.fromisoformat(ended).strftime("%d %B %Y, %H:%M UTC") if ended else ""
    return " · ".join(part for part in (corpus.ref, when) if part)
