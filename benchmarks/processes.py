"""A whole command, measured: seconds, processor seconds, peak memory, on the cores it may use."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.errors import DataError

# A process inherits the peak memory of the one that starts it, so a small one starts it.
_STARTER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    file.write(f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
"""
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
    with tempfile.TemporaryDirectory() as scratch, log.open("wb") as output, pinned(cores):
        told = Path(scratch, "spent")
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, str(told)]
        process = subprocess.run(
            [*starter, *map(str, command)], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, cwd=directory, check=False,
        )  # fmt: skip
        spent = told.read_text() if told.exists() else ""
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        shown = "\n  ".join(lines)
        raise DataError(f"{command[0]} ended with status {process.returncode}:\n  {shown}")
    seconds, cpu_seconds, peak_kilobytes = map(float, spent.split())
    return Spent(seconds, cpu_seconds, int(peak_kilobytes) * 1024)


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
