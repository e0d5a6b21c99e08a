"""A whole command, measured: seconds, processor seconds, peak memory, on the cores it may use."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.errors import DataError

TAIL = 15  # lines of a failed command's output that are shown


@dataclass(frozen=True)
class Spent:
    """What one command took, its waited-for children included."""

    seconds: float
    """From before its start to after its end."""
    cpu_seconds: float
    """User and system."""
    peak_bytes: int
    """Resident memory of the largest of its processes."""


def measure(
    command: Sequence[str | Path],
    *,
    cores: int,
    log: Path,
    environment: Mapping[str, str],
    directory: Path,
) -> Spent:
    """Run `command` on the first `cores` cores; its output goes to `log`.

    Raises DataError with the end of the output when it fails.
    """
    with log.open("wb") as output, pinned(cores):
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, cwd=directory,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        shown = "\n  ".join(lines)
        raise DataError(f"{command[0]} ended with status {process.returncode}:\n  {shown}")
    return Spent(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Inside, this process and its children run on `cores` of the cores it may use."""
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[-cores:]  # the first core serves most interrupts
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
