"""Files that are either whole or absent: atomic writes, hashes, names, kernel-held locks.

Everything the project writes goes through here, so a reader never sees half a file.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.store.errors import ArtifactError, ConfigError

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_READ_BYTES = 1 << 20


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it may become one path component, else raise ConfigError."""
    if not NAME_PATTERN.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"{what}={name!r} is not a usable name; use 1 to 100 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit"
        )
    return name


def inside(root: Path, path: Path) -> Path:
    """Return `path` resolved, or raise ConfigError if it leaves `root` (links are followed)."""
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise ConfigError(f"{path} lies outside {root}; choose a path below it")
    return resolved


def stays_below(name: str) -> bool:
    """Whether `name`, read from a file, is a plain relative path that leads nowhere else."""
    steps = name.split("/")
    return bool(name) and not any(
        step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps
    )


def fsync_directory(directory: Path) -> None:
    """Make renames inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and takes its place.

    On any failure, a full disk included, the temporary file is removed and `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably."""
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        handle.write(data)
        handle.flush()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically and durably."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically; NaN and infinities are refused."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, turning a missing or broken file into an ArtifactError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, too long a number, too deep
        raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and rerun") from error


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in 1 MiB pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_block(path: Path, offset: int, size: int) -> str:
    """Hex sha256 of `size` bytes of a file starting at `offset`."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        handle.seek(offset)
        while size > 0:
            piece = handle.read(min(_READ_BYTES, size))
            if not piece:
                break
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def file_lock(
    path: Path, *, owner: str, wait_seconds: float, waiting: Callable[[str], None]
) -> Iterator[None]:
    """Hold an exclusive `flock` on `path`; the kernel releases it when the process dies.

    While another process holds it, `waiting` is called once with that owner's description; after
    `wait_seconds` an ArtifactError names the owner. Works on one machine and on NFS v4.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(descriptor, 500, 0).decode("utf-8", "replace") or "another run"
                if not told:
                    waiting(holder)
                    told = True
                if time.monotonic() >= deadline:
                    raise ArtifactError(
                        f"{path.stem} is being built by {holder}; waited {wait_seconds:.0f} s; "
                        "wait for that run to end or stop it"
                    ) from None
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode("utf-8"), 0)
        yield
    finally:
        os.close(descriptor)
