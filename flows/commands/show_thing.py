"""`mill show`: what is known about an artifact, a run, a registered model or a document."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from flows.commands.show_document import Removal, show_document
from flows.commands.store import existing_root, stages_table
from pipeline.artifacts import (
    DIRECTORIES,
    Artifact,
    find_artifact,
    seek_artifact,
)
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import NAME_PATTERN, read_json, write_text
from pipeline.store.fingerprint import short
from pipeline.tracking.config import default_uri, tracking_at
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.versions import Version

MODEL_STAGES = ("pretrain", "finetune", "classify", "export")


@dataclass(frozen=True)
class Wanted:
    """What else is asked for."""

    html: Path | None = None
    """Where a model's page goes; None: below the root."""
    uri: str | None = None
    """The registry; None: where this root registered the name."""
    remove: bool = False
    """Exclude the document from the next runs."""
    reason: str = ""
    """Why it is excluded."""
    exclusions: Path | None = None
    """The list it is written into; None: the one in the root."""
    eu_summary: Path | None = None
    """Where the summary of a model's training content goes."""


def show_thing(thing: str, *, root: Path, wanted: Wanted | None = None) -> None:
    """Find out what `thing` names and print it; ArtifactError or DataError if it names nothing."""
    console = Console(highlight=False)
    wanted = wanted or Wanted()
    is_model = thing.startswith("models:/") or _names_artifact(thing)
    if wanted.remove and is_model:
        raise ConfigError(f"--remove excludes a document; {thing} is none")
    if wanted.eu_summary is not None and not is_model:
        raise ConfigError(f"--eu-summary is about a model; {thing} is none")
    if thing.startswith("models:/"):
        _show_model(console, thing, existing_root(root), wanted)
    elif _names_artifact(thing):
        artifact = find_artifact(existing_root(root) if "@" in thing else root, thing)
        _show_artifact(console, artifact)
        if artifact.stage in MODEL_STAGES:
            _show_certificate(console, artifact, None, wanted)
        elif wanted.eu_summary is not None:
            raise ConfigError(f"--eu-summary is about a model; {artifact.ref} is none")
    elif NAME_PATTERN.fullmatch(thing) and (existing_root(root) / "journal" / thing).is_dir():
        _show_run(console, thing, existing_root(root))
    else:
        show_document(
            console, thing, existing_root(root),
            Removal(wanted.reason, wanted.exclusions) if wanted.remove else None,
        )  # fmt: skip


def _names_artifact(thing: str) -> bool:
    """`stage@digits` or a finished directory; a document's id may hold an @ too."""
    stage, at, digits = thing.partition("@")
    if at and stage in DIRECTORIES and digits and set(digits) <= set("0123456789abcdef"):
        return True
    return (Path(thing) / "manifest.json").is_file()


def _show_artifact(console: Console, artifact: Artifact) -> None:
    manifest = artifact.manifest
    made = manifest.provenance
    console.print(f"[bold]{artifact.ref}[/bold]  {artifact.path}")
    console.print(
        f"made {made.get('ended')} on {made.get('host')} ({made.get('device')}), "
        f"commit {str(made.get('git_commit'))[:12]}{' + changes' if made.get('git_dirty') else ''}"
    )
    console.print("\n[bold]facts[/bold]")
    console.print_json(json.dumps(manifest.facts))
    console.print("[bold]settings[/bold]")
    console.print_json(json.dumps(manifest.config))
    console.print(_lineage(artifact, Tree(artifact.ref)))
    size = sum(file.bytes for file in manifest.files.values())
    console.print(f"{len(manifest.files)} files, {size / 1e6:,.2f} MB, {len(manifest.parts)} parts")


def _lineage(artifact: Artifact, tree: Tree, seen: set[str] | None = None) -> Tree:
    """Inputs of inputs; each artifact's own are drawn once, parts are counted."""
    seen = {artifact.ref} if seen is None else seen
    parts = 0
    for reference in artifact.manifest.inputs:
        if reference.partition("@")[0] not in DIRECTORIES:
            parts += 1
            continue
        if reference in seen:
            tree.add(f"{reference} [dim](above)[/dim]")
            continue
        seen.add(reference)
        parent = seek_artifact(artifact.root, reference)
        if parent is None:
            tree.add(f"{reference} [dim](not under this root)[/dim]")
        else:
            _lineage(parent, tree.add(reference), seen)
    if parts:
        tree.add(f"[dim]{parts} input parts[/dim]")
    return tree


def _show_run(console: Console, run_id: str, root: Path) -> None:
    directory = root / "journal" / run_id
    console.print(f"[bold]run {run_id}[/bold]")
    if (directory / "stages.json").is_file():
        console.print(stages_table(read_json(directory / "stages.json")))
    else:
        console.print("it has not ended yet, or was killed; its journals are in", str(directory))
    if (directory / "plan.json").is_file():
        for row in read_json(directory / "plan.json")["rows"]:
            if row["action"] == "build" and row["actual_seconds"] is not None:
                console.print(
                    f"  {row['title']:<16} predicted {row['seconds']:7.1f} s, "
                    f"took {row['actual_seconds']:7.1f} s"
                )
    report = root / "reports" / run_id / "report.html"
    if report.is_file():
        console.print(f"report {report}")


def _show_model(console: Console, uri: str, root: Path, wanted: Wanted) -> None:
    from pipeline.tracking.referring import version_of  # heavy: mlflow

    version = version_of(uri, root=root, tracking=tracking_at(wanted.uri))
    console.print(f"[bold]{escape(str(version))}[/bold]")
    console.print_json(json.dumps(dict(version.tags)))
    exported = seek_artifact(root, f"export@{version.fingerprint or '-'}")
    if exported is None:
        raise ArtifactError(
            f"{version} was made from export@{version.fingerprint[:12] or '?'}, which is not under "
            f"{root}; its certificate is shown with the version in MLflow"
        )
    _show_certificate(console, exported, version, wanted)


def _show_certificate(
    console: Console, model: Artifact, version: Version | None, wanted: Wanted
) -> None:
    """One page, here and as HTML."""
    from pipeline.reports.certificate import certificate_of  # heavy: matplotlib
    from pipeline.reports.terminal import print_sections
    from pipeline.reports.training_content import training_content_summary

    root = model.root
    judgements = Ledger(root, default_uri(root)).judgements()
    certificate = certificate_of(model, version, judgements)
    print_sections(certificate.sections, console)
    name = f"{model.stage}-{short(model.fingerprint)}.html"
    path = wanted.html or root / "certificates" / name
    write_text(path, certificate.html)
    console.print(f"\nwritten to {path.absolute()}", highlight=False, soft_wrap=True)
    if wanted.eu_summary is not None:
        write_text(wanted.eu_summary, training_content_summary(certificate.ancestry, version))
        console.print(
            f"training content summarised in {wanted.eu_summary.absolute()}", soft_wrap=True
        )
