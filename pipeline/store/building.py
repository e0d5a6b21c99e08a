"""Build an artifact once: reuse it if it is there, wait if another run builds it, else build it.

    key = artifact_key("clean", 1, config, [eval_set.fingerprint])
    directory = build(key, root / "clean" / digits, work, root=root, runtime=runtime)

`work(directory)` writes files into `directory` and returns an Outcome; the manifest follows last.
Killed at any moment, the next call finds no manifest and starts over (or resumes, `resume=True`).
"""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.store.errors import ArtifactError, MillError, NotBuilt
from pipeline.store.files import file_lock, fsync_directory
from pipeline.store.fingerprint import digest, plain, short
from pipeline.store.manifest import (
    Manifest,
    artifact_files,
    file_facts,
    is_finished,
    verify,
    write_manifest,
)
from pipeline.store.provenance import now, provenance
from pipeline.store.runtime import Runtime

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ArtifactKey:
    """What determines an artifact's content, and the sha256 of exactly that."""

    stage: str
    stage_version: int
    config: Any
    inputs: tuple[str, ...]
    """References `stage@fingerprint` with the full 64 digits."""
    fingerprint: str


@dataclass(frozen=True)
class Outcome:
    """What a build leaves for the manifest."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()


def artifact_key(stage: str, version: int, config: Any, inputs: Sequence[str]) -> ArtifactKey:
    """The key of the artifact that `stage` at `version` makes from `config` and `inputs`.

    `inputs` are `Artifact.key` values or content hashes with a name, `file@<sha256>`.
    """
    settings = plain(config)
    identity = {"stage": stage, "version": version, "config": settings, "inputs": list(inputs)}
    return ArtifactKey(stage, version, settings, tuple(inputs), digest(identity))


def build(
    key: ArtifactKey,
    directory: Path,
    work: Callable[[Path], Outcome],
    *,
    root: Path,
    runtime: Runtime,
    resume: bool = False,
    quiet: bool = False,
) -> Path:
    """Return `directory` holding the finished, verified artifact of `key`, building it if needed.

    `resume=True` hands `work` the directory as a killed build left it; otherwise it is emptied.
    `quiet=True` reports no event (parts). Raises ArtifactError for a damaged artifact, a disk that
    is full, or a lock another run holds longer than `runtime.lock_wait_seconds`.
    """
    if is_finished(directory):
        return _reuse(key, directory, root=root, runtime=runtime, quiet=quiet)
    if not runtime.may_build:
        raise NotBuilt(
            f"{key.stage}@{short(key.fingerprint)} is not built in {root}, and this run may not "
            f"build it; `mill run CONFIG` does, with --only {key.stage} that alone"
        )
    lock = root / "locks" / f"{directory.parent.name}-{directory.name}.lock"
    owner = f"process {os.getpid()} on {socket.gethostname()} since {now()}"
    with file_lock(
        lock,
        owner=owner,
        wait_seconds=runtime.lock_wait_seconds,
        waiting=lambda holder: runtime.progress.event(
            "waiting", {"artifact": str(directory), "for": holder}
        ),
    ):
        if is_finished(directory):
            return _reuse(key, directory, root=root, runtime=runtime, quiet=quiet)
        _prepare(directory, resume=resume)
        if not quiet:
            name = f"{key.stage}@{short(key.fingerprint)}"
            runtime.progress.event("building", {"artifact": name})
        started = now()
        try:
            outcome = work(directory)
            _seal(key, directory, outcome, started=started, runtime=runtime)
        except OSError as error:
            raise _explained(error, directory) from error
    if not quiet:
        runtime.progress.event("built", {"artifact": f"{key.stage}@{short(key.fingerprint)}"})
    return directory


def _reuse(key: ArtifactKey, directory: Path, *, root: Path, runtime: Runtime, quiet: bool) -> Path:
    manifest = verify(directory, mode=runtime.verify, parts_root=root)
    if manifest.fingerprint != key.fingerprint:
        raise ArtifactError(
            f"{directory} holds {manifest.ref}, expected {key.stage}@{short(key.fingerprint)}; "
            f"move it away and rerun"
        )
    if not quiet:
        runtime.progress.event("reused", {"artifact": manifest.ref})
    return directory


def _prepare(directory: Path, *, resume: bool) -> None:
    if directory.exists() and not resume:
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in list(directory.rglob("*.tmp-*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _seal(
    key: ArtifactKey, directory: Path, outcome: Outcome, *, started: str, runtime: Runtime
) -> None:
    files = {
        str(path.relative_to(directory)): file_facts(path) for path in artifact_files(directory)
    }
    manifest = Manifest(
        stage=key.stage,
        stage_version=key.stage_version,
        fingerprint=key.fingerprint,
        inputs=tuple(_short_ref(reference) for reference in key.inputs),
        config=key.config,
        facts=plain(dict(outcome.facts), where="facts"),
        files=files,
        parts=outcome.parts,
        provenance=provenance(started=started, device=runtime.device),
    )
    write_manifest(directory, manifest)
    fsync_directory(directory.parent)


def _short_ref(reference: str) -> str:
    name, _, fingerprint = reference.rpartition("@")
    return f"{name}@{short(fingerprint)}"


def _explained(error: OSError, directory: Path) -> MillError | OSError:
    """A full disk is the user's to solve; every other OSError stays one, so Prefect may retry."""
    if error.errno not in _DISK_FULL and "No space left" not in str(error):
        return error
    try:
        free = shutil.disk_usage(directory).free
    except OSError:
        free = 0
    return ArtifactError(
        f"the disk is full: {error} while building {directory} ({free / 1e6:.0f} MB free); "
        "free some space and run the same command again, finished artifacts are untouched"
    )
