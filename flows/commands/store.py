"""`mill store` and `mill tokenizer`: look into the store, check it, send it to MLflow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.display import clock
from pipeline.artifacts import (
    AnyEvalSet,
    EvalReport,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
    find_artifact,
    finished_artifacts,
)
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.manifest import verify


def existing_root(root: Path) -> Path:
    """The root as an absolute path; ConfigError if there is none."""
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise ConfigError(
            f"root={root} does not exist; name the root of an earlier run with --root"
        )
    return root


def verify_store(root: Path) -> None:
    """Check every byte of every artifact and part; ArtifactError after all have been looked at."""
    root = existing_root(root)
    console = Console()
    damaged = []
    artifacts = finished_artifacts(root)
    for artifact in artifacts:
        try:
            manifest = verify(artifact.path, mode="full", parts_root=root)
        except ArtifactError as error:
            damaged.append(str(error))
            console.print(f"[red]damaged[/red]  {artifact.ref}  {error}", highlight=False)
        else:
            size = sum(file.bytes for file in manifest.files.values())
            console.print(
                f"ok       {artifact.ref}  {len(manifest.files)} files, {size / 1e6:,.1f} MB, "
                f"{len(manifest.parts)} parts", highlight=False,
            )  # fmt: skip
    if damaged:
        raise ArtifactError(
            f"{len(damaged)} of {len(artifacts)} artifacts are damaged; delete their directories "
            f"and run again to rebuild them. First: {damaged[0]}"
        )
    console.print(f"{len(artifacts)} artifacts are whole")


def show_shards(reference: str, *, samples: int, root: Path) -> None:
    """Counts, lengths and decoded samples of token shards."""
    from pipeline.tokens.describe import describe_shards  # pyarrow

    shards = find_artifact(existing_root(root), reference)
    if not isinstance(shards, TokenShards):
        raise ArtifactError(f"{shards.ref} holds no token shards; name a tokenize@... artifact")
    print(describe_shards(shards, samples=samples))


def inspect_tokenizer(reference: str, text: str, *, root: Path) -> None:
    """How a text is cut into tokens."""
    from pipeline.tokens.describe import inspect_text  # tiktoken
    from pipeline.tokens.tokenizer import Tokenizer

    artifact = find_artifact(existing_root(root) if "@" in reference else root, reference)
    if not isinstance(artifact, TrainedTokenizer):
        raise ArtifactError(f"{artifact.ref} is no tokenizer; name a tokenizer@... artifact")
    print(inspect_text(Tokenizer.load(artifact.path), text))


def import_tokenizer(file: Path, into: Path) -> None:
    """Copy a published encoding's ranks after checking them."""
    from pipeline.tokens.ranks import import_ranks

    for path in import_ranks(file, into):
        print(f"imported {path}")


def sync_store(root: Path, *, uri: str | None) -> None:
    """Send to MLflow what it lacks: runs from the journals, versions from the ledger.

    What found no registry in its run is registered now, and passes the same gate as in a run.
    """
    from flows.rescoring import measure_champion, measures_of  # heavy: torch
    from pipeline.reports.certificate import write_certificate
    from pipeline.stages.register import RegistryConfig, register_pending  # heavy: mlflow
    from pipeline.store.runtime import Runtime
    from pipeline.tracking.config import TrackingConfig
    from pipeline.tracking.sync import sync

    root = existing_root(root)
    report = sync(root, uri)
    print(
        f"{report.runs} runs brought up to date, {report.records} records sent, "
        f"{report.alive} runs still going"
    )
    for damaged in report.damaged:
        print(f"damaged: {damaged}")
    for version in report.restored:
        print(f"registered again: {version}")
    for version in report.repaired:
        print(f"files brought back from the export: {version}")
    for version in report.lost:
        print(f"without files, and its export is gone: {version}")
    tracking = TrackingConfig(uri=uri) if uri else TrackingConfig()
    runtime = Runtime()

    def evaluate_for(
        report: EvalReport, eval_set: AnyEvalSet
    ) -> Callable[[ExportedModel], EvalReport]:
        def evaluate_champion(champion: ExportedModel) -> EvalReport:
            print(f"measuring the champion ({champion.ref}) on {eval_set.ref}", flush=True)
            return measure_champion(
                champion, report, eval_set, measures_of(report), root=root, runtime=runtime
            )

        return evaluate_champion

    for registration in register_pending(
        RegistryConfig(),
        root=root,
        runtime=runtime,
        tracking=tracking,
        evaluate_for=evaluate_for,
        certify=partial(write_certificate, root=root),
    ):
        print(registration.summary)


def stages_table(rows: list[dict[str, object]]) -> Table:
    """The stages of a run as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "outcome", "time", "artifact"):
        table.add_column(name)
    for row in rows:
        seconds = row["seconds"]
        table.add_row(
            str(row["title"]), str(row["outcome"]),
            clock(seconds) if isinstance(seconds, int | float) else "", str(row["ref"]),
        )  # fmt: skip
    return table
