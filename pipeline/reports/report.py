"""The report of one run: `report.md`, `report.html` and pictures under `root/reports/<run_id>`."""

from datetime import datetime
from pathlib import Path

from pipeline.reports.blocks import Picture, Section
from pipeline.reports.drawn import take_drawn
from pipeline.reports.facts import ReportPaths, RunFacts
from pipeline.reports.html import render_html
from pipeline.reports.markdown import render_markdown
from pipeline.reports.sections import report_sections
from pipeline.store.files import check_name, write_bytes, write_text

__all__ = ["ReportPaths", "RunFacts", "report_markdown", "write_report"]


def write_report(run: RunFacts, *, root: Path) -> ReportPaths:
    """Write the report of `run`; a section whose artifacts are missing is left out.

    ConfigError for a run id that is no file name, ArtifactError for a damaged artifact.
    """
    directory = root / "reports" / check_name(run.run_id, what="run_id")
    sections = report_sections(run)
    title, subtitle = _title(run)
    pictures = pictures_of(sections)
    take_drawn(pictures, run, root=root)
    paths = tuple(directory / f"{picture.name}.png" for picture in pictures)
    for path, picture in zip(paths, pictures, strict=True):
        write_bytes(path, picture.light)
    markdown, html = directory / "report.md", directory / "report.html"
    write_text(markdown, render_markdown(title, subtitle, sections, embed_pictures=False))
    write_text(html, render_html(title, subtitle, sections))
    return ReportPaths(directory, markdown, html, paths)


def report_markdown(run: RunFacts, *, embed_pictures: bool = True) -> str:
    """The report as one Markdown text, pictures as data URIs: what Prefect's pages render."""
    title, subtitle = _title(run)
    return render_markdown(title, subtitle, report_sections(run), embed_pictures=embed_pictures)


def pictures_of(sections: list[Section]) -> list[Picture]:
    """Every picture in `sections`."""
    return [block for section in sections for block in section.blocks if isinstance(block, Picture)]


def _title(run: RunFacts) -> tuple[str, str]:
    names = [str(entry.get("name")) for entry in run.registrations if entry.get("name")]
    # What the run is about comes last: after a base, but before the classifiers made of an encoder.
    names = names[: len(names) - len(run.class_evals)] or names
    title = names[-1] if names else run.name
    ended = [str(a.manifest.provenance.get("ended", "")) for _, a in run.artifacts()]
    newest = max((text for text in ended if text), default="")
    when = datetime.fromisoformat(newest).strftime("%d %B %Y, %H:%M UTC") if newest else ""
    return title, " · ".join(part for part in (f"run {run.run_id}", when) if part)
