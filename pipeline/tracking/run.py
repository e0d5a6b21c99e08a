"""What a flow uses: one tracked run, one journal per stage, everything mirrored in the background.

    tracking = start_tracking(config, root, run_id, run_name, tags)
    with tracking.stage("clean") as journal:        # a child run
        corpus = clean_corpus(..., runtime=replace(runtime, journal=journal))
        tracking.log_stage(corpus, {"funnel.png": png})
    tracking.finish("FINISHED")

Nothing here raises because of MLflow, or waits for it before `finish`.
"""

import fcntl
import logging
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pipeline.artifacts import Artifact
from pipeline.store.files import check_name, write_bytes, write_json
from pipeline.tracking import lineage
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.system_metrics import SystemMetrics

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
Attachment = Path | bytes
STOPPED = 143  # exit code of an error that means "stopped after saving"


class Tracking:
    """One run; made by `start_tracking`. Usable from several threads, one stage name each."""

    def __init__(
        self,
        config: TrackingConfig,
        root: Path,
        run_id: str,
        run_name: str,
        tags: Mapping[str, str],
    ) -> None:
        self._config = config
        self._root = root.resolve()
        self.run_id = run_id
        """Our id: the name of the journal directory (the flow run's id under Prefect)."""
        self.directory = self._root / "journal" / check_name(run_id, what="run_id")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._owner = claim(self.directory)
        self._finished = False
        description = {
            "run_id": run_id,
            "run_name": run_name,
            "tags": {"mlflow.user": _user(), **tags},
            "experiment": config.experiment,
            "started": time.time_ns() // 1_000_000,
        }
        if not (self.directory / "run.json").is_file():
            write_json(self.directory / "run.json", description)
        self._journal = FileJournal(self.directory / "flow.jsonl")
        self._journal.event("started", {})
        self._journal.event("tags", dict(tags))
        self._journals: dict[str, FileJournal] = {}
        self._active: list[str] = []
        self._mirror: Mirror | None = None
        if config.enabled and self._owner is not None:
            uri = tracking_uri(config, self._root)
            self._mirror = Mirror(self._root, self.directory, uri=uri, experiment=config.experiment)
        self._sampler: SystemMetrics | None = None
        if config.system_metrics_seconds is not None:
            self._sampler = SystemMetrics(
                self._journal, self._root, seconds=config.system_metrics_seconds
            )

    @contextmanager
    def stage(self, name: str) -> Iterator[FileJournal]:
        """A child run named `name`; its status follows how the block ends."""
        journal = self._stage_journal(name)
        journal.event("started", {})
        self._active.append(name)
        status: Status = "KILLED"  # KeyboardInterrupt, SystemExit, Prefect's termination signal
        try:
            yield journal
            status = "FINISHED"
        except Exception as error:
            # A training loop that was asked to stop saved its state: that is no failure.
            status = "KILLED" if getattr(error, "exit_code", 0) == STOPPED else "FAILED"
            raise
        finally:
            self._active.remove(name)
            journal.event("finished", {"status": status})

    def log_stage(
        self,
        artifact: Artifact,
        figures: Mapping[str, Attachment] | None = None,
        *,
        stage: str | None = None,
    ) -> None:
        """Record an artifact in a child run: config, facts, tags, data lineage, manifest, figures.

        `stage` defaults to the innermost running one, or the artifact's own stage.
        """
        name = stage or (self._active[-1] if self._active else artifact.stage)
        journal = self._stage_journal(name)
        journal.event("params", lineage.parameters(artifact.manifest.config))
        journal.event("tags", lineage.tags(artifact))
        journal.metrics(lineage.figures_of_merit(artifact.facts), step=0)
        for row in lineage.datasets(self._root, artifact):
            journal.event("dataset", row)
        self.attach({"manifest.json": artifact.path / "manifest.json"}, stage=name, folder="")
        self.attach(figures or {}, stage=name)

    def attach(
        self, files: Mapping[str, Attachment], *, stage: str | None = None, folder: str = "figures"
    ) -> None:
        """Show files (name -> content or path) with a stage's run, or with the whole run's."""
        journal = self._journal if stage is None else self._stage_journal(stage)
        for name, content in files.items():
            check_name(name, what="attachment name")
            try:
                path = self._kept(name, content, stage or "flow")
            except OSError as error:
                logger.warning("%s cannot be kept with the run (%s)", name, error)
                continue
            journal.event("file", {"path": str(path.relative_to(self._root)), "folder": folder})

    def params(self, values: object) -> None:
        """Record a (nested) configuration with the whole run, flattened to dotted names."""
        self._journal.event("params", lineage.parameters(values))

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record headline numbers with the whole run."""
        self._journal.metrics(values, step=0)

    def tags(self, values: Mapping[str, str]) -> None:
        """Tag the whole run."""
        self._journal.event("tags", values)

    def finish(self, status: Status = "FINISHED") -> bool:
        """End the run and wait at most `drain_seconds` for MLflow; True if it has everything."""
        if self._finished:
            return self._mirror is None or self._mirror.complete
        self._finished = True
        if self._sampler is not None:
            self._sampler.stop()
        self._journal.event("finished", {"status": status})
        complete = self._mirror is None or self._mirror.close(self._config.drain_seconds)
        for journal in (self._journal, *self._journals.values()):
            journal.close()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None
        return complete

    def mlflow_run_id(self, *, wait_seconds: float = 0.0) -> str | None:
        """MLflow's id of the run, None while (or if) the store has not answered."""
        return None if self._mirror is None else self._mirror.wait_for_run(wait_seconds)

    @property
    def run_url(self) -> str | None:
        """The page of the run in MLflow's UI, where its address is known."""
        run_id = self.mlflow_run_id()
        base = self._config.ui_url or self._config.uri
        if run_id is None or base is None or not base.startswith("http"):
            return None
        experiment = self._mirror.experiment_id if self._mirror is not None else None
        return f"{base.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish("FINISHED")
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _stage_journal(self, name: str) -> FileJournal:
        if name not in self._journals:
            check_name(name, what="stage")
            self._journals[name] = FileJournal(self.directory / f"{name}.jsonl", name)
        return self._journals[name]

    def _kept(self, name: str, content: Attachment, stage: str) -> Path:
        """A file under the root that stays: manifests as they are, everything else as a copy."""
        if isinstance(content, Path):
            content = content.resolve()
            if content.name == "manifest.json" and content.is_relative_to(self._root):
                return content
            content = content.read_bytes()
        path = self.directory / "files" / stage / name
        write_bytes(path, content)
        return path


def start_tracking(
    config: TrackingConfig, root: Path, run_id: str, run_name: str, tags: Mapping[str, str]
) -> Tracking:
    """Begin (or, with a known `run_id`, continue) a run; returns at once, whatever MLflow does.

    `tags` come from the caller: `git_commit`, `prefect.flow_run_id`, `prefect.flow_run_url`...
    """
    return Tracking(config, root, run_id, run_name, tags)


def claim(directory: Path) -> int | None:
    """A descriptor whose lock says "this run is alive", None if another process holds it."""
    descriptor = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
