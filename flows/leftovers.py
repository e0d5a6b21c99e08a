"""What killed runs left behind under a root: found, and removed unless somebody holds it.

temporaries    *.tmp-PID and probes that nobody writes any more
unfinished     artifacts without a manifest
old_journals   of runs that MLflow has to the last record
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

from pipeline.artifacts import DIRECTORIES
from pipeline.store.errors import ArtifactError
from pipeline.store.files import file_lock
from pipeline.store.manifest import is_finished
from pipeline.tracking.run import claim
from pipeline.tracking.sync import is_sent

ORPHAN_SECONDS = 86_400.0
"""A temporary file that nobody wrote to for so long has no process any more, on any machine."""
_TEMPORARY = re.compile(r"(\.tmp-\d+$)|(^\.probe-\d+$)")
_KEPT = frozenset({"mlflow.db", "mlartifacts", "prefect", "locks"})
"""Of others, or in use by the kernel's locks."""


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


def clear_orphans(root: Path) -> list[Removal]:
    """Remove what has been temporary for too long; never a reason for a run to fail."""
    try:
        found = list(temporaries(root, older_than_seconds=ORPHAN_SECONDS))
        return [one for one in found if remove(one, root)]
    except OSError:
        return []
