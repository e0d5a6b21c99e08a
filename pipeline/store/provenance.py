"""Where, when and by what an artifact was made; recorded, never part of its identity."""

import functools
import platform
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.store.files import sha256_file
from pipeline.store.secrets import redacted

CHECKOUT = Path(__file__).resolve().parents[2]


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def code_state() -> dict[str, Any]:
    """Git commit and dirty flag of this checkout (None outside git) and the lock file's hash."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    lock = CHECKOUT / "requirements.lock"
    return {
        "git_commit": commit,
        "git_dirty": bool(status) if status is not None else None,
        "lock_sha256": sha256_file(lock) if lock.is_file() else None,
    }


@functools.cache
def machine() -> dict[str, Any]:
    """Host, interpreter and the versions of the packages that shape results."""
    versions: dict[str, str | None] = {}
    for package in ("torch", "pyarrow", "tiktoken", "numpy", "datasets", "prefect", "mlflow"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def provenance(*, started: str, device: str) -> dict[str, Any]:
    """The provenance section of a manifest; stages add seed, compile and world size as facts."""
    return {
        **code_state(),
        **machine(),
        "device": device,
        "started": started,
        "ended": now(),
        "argv": [_without_place(argument) for argument in sys.argv],
    }


def _without_place(argument: str) -> str:
    """`root=/home/me/runs` -> `root=.../runs`: an artifact names no place on the machine."""
    return re.sub(r"(?<![\w./:])/(?:[^\s/=,]+/)+", ".../", redacted(argument))


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
