"""Housekeeping: what killed runs left behind goes, and what is left of the disk is said.

orphans    temporary files (*.tmp-PID), probes and unfinished directories nobody works on
journals   of runs that MLflow has, after keep_days
task runs  that Prefect calls running though their flow run has ended
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.states import Completed, State

from flows import show, signals
from flows.beginning import begin
from flows.root import prepare_root
from flows.settings import HousekeepingSettings, root_of_environment
from flows.zombies import crash_stale_tasks
from pipeline.artifacts import DIRECTORIES
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import file_lock
from pipeline.store.manifest import is_finished
from pipeline.tracking.run import claim
from pipeline.tracking.sync import is_sent

DEFAULT_ORPHAN_HOURS = 24.0
DEFAULT_UNFINISHED_DAYS = 14.0
DAY = 86_400.0
_TEMPORARY = re.compile(r"(\.tmp-\d+$)|(^\.probe-\d+$)")
_KEPT = frozenset({"mlflow.db", "mlartifacts", "prefect", "locks"})
"""Of others, or in use by the kernel's locks."""


MARKS = ("journal", "locks", "resolved", "mlflow.db")
"""What every run leaves under its root."""


@dataclass(frozen=True)
class Removal:
    """One thing that is to go, or went."""

    kind: Literal["temporary", "unfinished", "journal"]
    path: str
    """Relative to the root."""
    num_bytes: int


def temporaries(root: Path, *, older_than_seconds: float) -> Iterator[Removal]:
    """Temporary files and directories that a killed process did not take with it."""
    before = time.time() - older_than_seconds
    for path in sorted(_walk(root)):
        if _TEMPORARY.search(path.name) and _newest(path) < before:
            yield _removal("temporary", path, root)


def unfinished(root: Path, *, older_than_seconds: float) -> Iterator[Removal]:
    """Artifacts without a manifest. A killed run goes on from them, so give that run time."""
    before = time.time() - older_than_seconds
    for home in [*DIRECTORIES.values(), *_part_homes(root)]:
        for path in sorted((root / home).glob("*")):
            is_begun = path.is_dir() and not path.is_symlink() and not is_finished(path)
            if is_begun and _newest(path) < before:
                yield _removal("unfinished", path, root)


def old_journals(root: Path, *, older_than_seconds: float) -> Iterator[Removal]:
    """Journals of runs that ended long ago and that MLflow has to the last record.

    With a journal goes what `mill store sync` would fill a deleted mlflow.db from.
    """
    before = time.time() - older_than_seconds
    for directory in sorted((root / "journal").glob("*/")):
        is_run = (directory / "run.json").is_file()
        if is_run and _newest(directory) < before and is_sent(directory):
            yield _removal("journal", directory, root)


def remove(removal: Removal, root: Path) -> bool:
    """Remove it; False if somebody holds it now."""
    path = root / removal.path
    with _held(removal, path, root) as mine:
        if not mine:
            return False
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return True


@contextmanager
def _held(removal: Removal, path: Path, root: Path) -> Iterator[bool]:
    """The lock that whoever works on it would hold."""
    if removal.kind == "journal":
        descriptor = claim(path)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)
    elif removal.kind == "unfinished":
        lock = root / "locks" / f"{path.parent.name}-{path.name}.lock"
        try:
            with file_lock(
                lock, owner="housekeeping", wait_seconds=0.0, waiting=lambda holder: None
            ):
                yield not is_finished(path)
        except ArtifactError:
            yield False
    else:
        yield True


def _removal(
    kind: Literal["temporary", "unfinished", "journal"], path: Path, root: Path
) -> Removal:
    return Removal(kind, path.relative_to(root).as_posix(), _size(path))


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in _KEPT]
        for name in [name for name in folders if _TEMPORARY.search(name)]:
            folders.remove(name)
            yield Path(folder, name)
        yield from (Path(folder, name) for name in files)


def _part_homes(root: Path) -> list[str]:
    return [f"parts/{path.name}" for path in sorted((root / "parts").glob("*/"))]


def _newest(path: Path) -> float:
    """When anything in it was written last."""
    times = [_time(path), *(_time(inner) for inner in path.rglob("*"))]
    return max(times)


def _time(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0  # gone meanwhile


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(_length(file) for file in files)


def _length(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def clear(
    root: Path, settings: HousekeepingSettings, *, dry_run: bool
) -> list[tuple[Removal, bool]]:
    """Everything that is to go, and whether it went."""
    hours = DEFAULT_ORPHAN_HOURS if settings.orphan_hours is None else settings.orphan_hours
    days = DEFAULT_UNFINISHED_DAYS if settings.unfinished_days is None else settings.unfinished_days
    found = list(unfinished(root, older_than_seconds=days * DAY))
    inside = tuple(f"{one.path}/" for one in found)
    found += [
        one
        for one in temporaries(root, older_than_seconds=hours * 3600)
        if not one.path.startswith(inside)
    ]
    if settings.keep_days is not None:
        found += old_journals(root, older_than_seconds=settings.keep_days * DAY)
    return [(one, not dry_run and remove(one, root)) for one in found]


def own_root(root: Path) -> Path:
    """`root`, made if it is not there; ConfigError for a directory of somebody else.

    Whoever fills in the form of a run could name any; in it, this would remove files.
    """
    root = root.expanduser().absolute()
    if root.is_dir() and any(root.iterdir()) and not any((root / name).exists() for name in MARKS):
        raise ConfigError(
            f"root={root} has none of {', '.join(MARKS)}: it is no root of earlier runs; leave "
            "root empty for the deployment's own"
        )
    return prepare_root(root)


@flow(name="housekeeping", persist_result=False, on_failure=[show.failed])
def housekeeping(
    root: str = "",
    settings: HousekeepingSettings = HousekeepingSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
) -> State[None]:
    """Remove what killed runs left behind.

    Args:
        root: Where artifacts and stores live; empty: the deployment's own root.
        settings: What goes, and when.
    """
    call = begin(show.LoggedDisplay)
    given = root_of_environment() or "runs"
    place = own_root(Path(root)) if root else prepare_root(Path(given))
    dry_run = bool(settings.dry_run)
    rows = clear(place, settings, dry_run=dry_run)
    show.removals([(one.kind, one.path, one.num_bytes, went) for one, went in rows])
    gone = [one for one, went in rows if went or dry_run]
    num_bytes = sum(one.num_bytes for one in gone)
    held = f" ({len(rows) - len(gone)} more are in use)" if len(gone) < len(rows) else ""
    free = shutil.disk_usage(place)
    show.guarded(None, lambda: signals.disk(place))
    if not dry_run:
        show.guarded(None, crash_stale_tasks)
    text = (
        f"{'would remove' if dry_run else 'removed'} {len(gone)} things, {num_bytes / 1e6:,.1f} MB"
        f"{held}; {free.free / 1e9:,.1f} GB ({free.free / free.total:.0%}) of the disk are free"
    )
    call.display.line(text)
    return Completed(message=text)
