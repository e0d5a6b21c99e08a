"""Send what MLflow is missing: `mill store sync`, and filling a deleted database again.

    journals  -> runs, metrics, figures        registry.jsonl + exports -> versions and aliases

Each run directory is locked while it is sent, so a run still alive is left to its own mirror.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json
from pipeline.tracking.config import TrackingConfig, default_uri
from pipeline.tracking.journal import FileJournal, read_all
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.registry import opened
from pipeline.tracking.run import claim
from pipeline.tracking.shipping import RunShipper
from pipeline.tracking.store import UNAVAILABLE, open_store


@dataclass(frozen=True)
class SyncReport:
    """What a sync did."""

    runs: int
    """Run directories brought up to date."""
    records: int
    """Journal lines sent by this call; 0 when nothing was missing."""
    alive: int
    """Runs left to the process that is still writing them."""
    damaged: tuple[str, ...]
    """Run directories whose description cannot be read."""
    restored: tuple[str, ...] = ()
    """Registered versions a lost registry got back, `NAME/3`."""
    repaired: tuple[str, ...] = ()
    """Versions whose deleted files were brought back from their exports."""
    lost: tuple[str, ...] = ()
    """Versions without files whose export is not under the root either."""


def sync(root: Path, tracking_uri: str | None = None) -> SyncReport:
    """Send every run's missing records to `tracking_uri` (default: the store under `root`).

    Runs whose process died are closed as KILLED. Raises ArtifactError if the store cannot be
    reached; what was sent until then is remembered.
    """
    root = root.resolve()
    uri = tracking_uri or default_uri(root)
    runs = records = alive = 0
    damaged: list[str] = []
    for directory in sorted((root / "journal").glob("*/")):
        with _owned(directory) as mine:
            if not mine:
                alive += 1
                continue
            try:
                experiment = str(read_json(directory / "run.json")["experiment"])
            except (ArtifactError, KeyError, TypeError):
                damaged.append(directory.name)
                continue
            close_abandoned(directory)
            try:
                records += RunShipper(open_store(uri, root, experiment), root, directory).ship()
            except UNAVAILABLE as error:
                raise ArtifactError(
                    f"MLflow at {uri} cannot be reached ({str(error).splitlines()[0][:300]}); "
                    f"{runs} runs were brought up to date; start the server and sync again"
                ) from error
            runs += 1
    return SyncReport(runs, records, alive, tuple(damaged), *_restored(root, uri))


def _restored(root: Path, uri: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Versions registered again, versions whose files were brought back, versions without files."""
    if not Ledger(root, uri).state().versions:
        return (), (), ()
    tracking = TrackingConfig(uri=uri if uri != default_uri(root) else None)
    try:
        with opened(root, tracking) as registry:
            repaired, lost = registry.repair()
            return registry.restored, tuple(repaired), tuple(lost)
    except UNAVAILABLE as error:
        raise ArtifactError(f"the registry at {uri} cannot be reached: {error}") from error


def is_sent(directory: Path) -> bool:
    """Whether some store has every record of this run, as far as the run itself knows."""
    sizes = {path.stem: path.stat().st_size for path in directory.glob("*.jsonl")}
    for cursor in directory.glob("cursor-*.json"):
        try:
            offsets = read_json(cursor)
        except ArtifactError:
            continue
        if sizes and all(offsets.get(name, {}).get("offset") == n for name, n in sizes.items()):
            return True
    return False


def close_abandoned(directory: Path) -> None:
    """Give runs of a dead process the status KILLED, ended at their last record."""
    for path in sorted(directory.glob("*.jsonl")):
        records = read_all(path).records
        states = [r for r in records if r.event in ("started", "finished")]
        if states and states[-1].event == "started":
            journal = FileJournal(path)
            facts = {"status": "KILLED", "ended": records[-1].milliseconds}
            journal.event("finished", facts)
            journal.close()


@contextmanager
def _owned(directory: Path) -> Iterator[bool]:
    descriptor = claim(directory)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
