"""`mill show`: what is known about an artifact, a run, a registered model or a document."""

import json
from pathlib import Path

from rich.console import Console
from rich.tree import Tree

from flows.commands.store import existing_root, stages_table
from pipeline.artifacts import (
    DIRECTORIES,
    Artifact,
    CleanedCorpus,
    find_artifact,
    finished_artifacts,
    parents_of,
    seek_artifact,
)
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.files import NAME_PATTERN, read_json


def show_thing(thing: str, *, root: Path) -> None:
    """Find out what `thing` names and print it; ArtifactError or DataError if it names nothing."""
    console = Console(highlight=False)
    if thing.startswith("models:/"):
        _show_model(console, thing, existing_root(root))
    elif "@" in thing or (Path(thing) / "manifest.json").is_file():
        artifact = find_artifact(existing_root(root) if "@" in thing else root, thing)
        _show_artifact(console, artifact)
    elif NAME_PATTERN.fullmatch(thing) and (existing_root(root) / "journal" / thing).is_dir():
        _show_run(console, thing, existing_root(root))
    else:
        _show_document(console, thing, existing_root(root))


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


def _show_model(console: Console, uri: str, root: Path) -> None:
    from pipeline.tracking.referring import MODEL_REFERENCE  # heavy: mlflow
    from pipeline.tracking.registry import opened

    named = MODEL_REFERENCE.fullmatch(uri)
    if named is None:
        raise ConfigError(f"{uri!r} is not models:/NAME@ALIAS or models:/NAME/VERSION")
    with opened(root) as registry:
        if named["number"]:
            version = registry.get(named["name"], int(named["number"]))
        else:
            found = registry.at(named["name"], named["alias"])
            if found is None:
                raise ConfigError(
                    f"{named['name']} has no alias {named['alias']} at {registry.uri}"
                )
            version = found
    console.print(f"[bold]{version}[/bold]")
    console.print_json(json.dumps(dict(version.tags)))
    for artifact in finished_artifacts(root):
        if artifact.fingerprint == version.fingerprint:
            console.print(_lineage(artifact, Tree(artifact.ref)))


def _show_document(console: Console, doc_id: str, root: Path) -> None:
    """Where a document went, in every cleaned corpus under the root."""
    from pipeline.reports.journey import find_journey, render_journey  # pyarrow

    corpora = [a for a in finished_artifacts(root) if isinstance(a, CleanedCorpus)]
    found = False
    for corpus in corpora:
        journey = find_journey(corpus, doc_id)
        if journey is None:
            continue
        found = True
        console.print(render_journey(journey, _trained_on(root, corpus)))
    if not found:
        raise DataError(
            f"{doc_id!r} is no artifact, run or model, and no document of the {len(corpora)} "
            f"cleaned corpora under {root}"
        )


def _trained_on(root: Path, corpus: CleanedCorpus) -> list[str]:
    """Which models under the root descend from the corpus."""
    lines = []
    for artifact in finished_artifacts(root):
        if artifact.stage in ("pretrain", "finetune") and _descends(artifact, corpus.ref):
            lines.append(artifact.ref)
    return lines


def _descends(artifact: Artifact, reference: str) -> bool:
    if reference in artifact.manifest.inputs:
        return True
    return any(_descends(parent, reference) for parent in parents_of(artifact))
