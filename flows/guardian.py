"""Run a command and everything it ever starts for exactly as long as the parent lives.

    python -P flows/guardian.py COMMAND...

Servers that start processes of their own (MLflow's workers; a Prefect worker's flow runs, each in
its own session) leave them behind when they are killed. The kernel tells this process that its
parent is gone, and hands it every descendant that lost its own parent (a subreaper); it ends all.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 15.0
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value)


def main(command: list[str]) -> int:
    """Start `command`, wait for its end or for ours, and leave nothing of it behind."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    parent = os.getppid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1  # the parent went before the kernel knew that we care
    process = subprocess.Popen(
        command, start_new_session=True, preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    )
    while process.pid not in _reaped and not asked.wait(0.2):
        _reap()
    end_descendants()
    return _reaped.get(process.pid, 0)


_reaped: dict[int, int] = {}
"""Exit code of every child and adopted orphan that has ended."""


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _reaped[pid] = os.waitstatus_to_exitcode(status)


def _living() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def end_descendants() -> None:
    """Ask all descendants to end (a training run saves its state then), later make them."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 5.0)):
        for process in _living():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + seconds
        while _living() and time.monotonic() < deadline:
            _reap()
            time.sleep(0.05)
        _reap()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
