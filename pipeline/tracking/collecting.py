"""What under a root nobody needs: everything that no model on the shelf and no recent run leads to.

    kept      versions of registered models, pending registrations, frozen sets, recent runs, the
              corpora that the nights have joined into a chain
              -> their inputs and parts -> the inputs of those ... -> reports about what is kept
    not kept  other artifacts and parts, downloads of versions without an alias

Only manifests and journals are read. Whatever is removed is built again when a run asks for it.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifacts import DIRECTORIES
from pipeline.store.errors import ArtifactError
from pipeline.store.fingerprint import short
from pipeline.store.manifest import MANIFEST, is_finished, read_manifest
from pipeline.tracking.journal import read_all

REPORTS = ("evaluate", "baselines")
"""Stages whose artifacts speak about others; they stay as long as all they speak about stays."""
Kind = Literal["artifact", "part", "download"]


@dataclass(frozen=True)
class Garbage:
    """One directory that may go."""

    path: Path
    kind: Kind
    name: str
    """`stage@digits` of an artifact or part, else the path below the root."""
    bytes: int


@dataclass(frozen=True)
class Needs:
    """What keeps artifacts alive."""

    exports: frozenset[str]
    """Fingerprints of exports behind registered versions and pending registrations."""
    aliased: frozenset[str] = frozenset()
    """Fingerprints of those an alias points to: their downloads stay too."""
    keep_seconds: float = 14 * 86400.0
    """What runs begun more recently have made or reused is kept."""
    keep_runs: int = 5
    """The newest runs are kept however old they are."""


def find_garbage(root: Path, needs: Needs) -> list[Garbage]:
    """Everything below `root` that nothing in `needs` leads to, artifacts first.

    ArtifactError while a run is in progress: it may be about to reuse what looks unneeded.
    """
    busy = [directory.name for directory in _runs(root) if _is_alive(directory)]
    if busy:
        raise ArtifactError(
            f"the run {busy[0]} is in progress under {root}; wait for it or stop it first"
        )
    kept = _reachable(root, needs)
    return [*_artifacts(root, kept), *_downloads(root, needs)]


def remove(garbage: Iterable[Garbage]) -> int:
    """Delete; the bytes that became free. The manifest goes first: half an artifact is none."""
    freed = 0
    for item in garbage:
        (item.path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(item.path)
        freed += item.bytes
    return freed


def _reachable(root: Path, needs: Needs) -> set[Path]:
    """Directories of artifacts and parts that stay."""
    finished = {path: read_manifest(path) for path in _finished(root)}
    by_name = {f"{m.stage}@{short(m.fingerprint)}": path for path, m in finished.items()}
    starts = [f"export@{short(fingerprint)}" for fingerprint in needs.exports]
    starts += [name for name, path in by_name.items() if path.parent.name == "eval-sets"]
    starts += _names_of_recent_runs(root, needs)
    starts += _names_of_nights(root)
    kept: set[Path] = set()

    def keep(path: Path | None) -> None:
        waiting = [path] if path is not None else []
        while waiting:
            here = waiting.pop()
            if here in kept or here not in finished:
                continue
            kept.add(here)
            manifest = finished[here]
            waiting += [by_name[name] for name in manifest.inputs if name in by_name]
            waiting += [root / part for part in manifest.parts]

    for name in starts:
        keep(by_name.get(name))
    for path, manifest in finished.items():
        about = [by_name[name] for name in manifest.inputs if name in by_name]
        if manifest.stage in REPORTS and about and kept.issuperset(about):
            keep(path)
    return kept


def _finished(root: Path) -> Iterator[Path]:
    for directory in (
        *DIRECTORIES.values(),
        *(f"parts/{p.name}" for p in _folders(root / "parts")),
    ):
        yield from (path for path in _folders(root / directory) if is_finished(path))


def _names_of_recent_runs(root: Path, needs: Needs) -> list[str]:
    """`stage@digits` of every artifact the kept runs made or reused."""
    began = {directory: _began(directory) for directory in _runs(root)}
    newest = sorted(began, key=lambda directory: began[directory], reverse=True)
    oldest = time.time() - needs.keep_seconds
    names = []
    for place, directory in enumerate(newest):
        if place >= needs.keep_runs and began[directory] < oldest:
            continue
        for journal in directory.glob("*.jsonl"):
            for record in read_all(journal).records:
                if record.event == "tags" and record.facts and "artifact" in record.facts:
                    names.append(str(record.facts["artifact"]))
    return names


def _names_of_nights(root: Path) -> list[str]:
    """Corpora and shards of every chain: what new text is compared with, and old text drawn from.

    Without them the files of earlier nights would count as new.
    """
    return [
        str(record.facts[name])
        for journal in sorted((root / "journal").glob("nights-*.jsonl"))
        for record in read_all(journal).records
        if record.event == "joined" and record.facts is not None
        for name in ("corpus", "shards")
        if record.facts.get(name)
    ]


def _artifacts(root: Path, kept: set[Path]) -> Iterator[Garbage]:
    for path in _finished(root):
        if path not in kept:
            manifest = read_manifest(path)
            kind: Kind = "part" if path.parent.parent.name == "parts" else "artifact"
            name = f"{manifest.stage}@{short(manifest.fingerprint)}"
            yield Garbage(path, kind, name, _size(path))


def _downloads(root: Path, needs: Needs) -> Iterator[Garbage]:
    aliased = {short(fingerprint) for fingerprint in needs.aliased}
    for path in _folders(root / "downloads"):
        if path.name.rpartition("-")[2] not in aliased:
            yield Garbage(path, "download", str(path.relative_to(root)), _size(path))


def _runs(root: Path) -> list[Path]:
    return [path for path in _folders(root / "journal") if (path / "run.json").is_file()]


def _began(directory: Path) -> float:
    """Seconds since 1970; a damaged run.json counts as new, so nothing of it is lost."""
    try:
        return float(json.loads((directory / "run.json").read_text())["started"]) / 1000
    except (ValueError, KeyError, TypeError):
        return time.time()


def _is_alive(directory: Path) -> bool:
    """Whether a process holds the run's lock (see `run.claim`)."""
    try:
        descriptor = os.open(directory / "owner.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _folders(directory: Path) -> list[Path]:
    """Its directories, sorted; links are left alone, they may lead out of the root."""
    if not directory.is_dir():
        return []
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_dir() and not path.is_symlink() and ".tmp-" not in path.name
    )


def _size(path: Path) -> int:
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())
