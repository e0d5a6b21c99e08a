"""Run a command and its whole process group for exactly as long as the parent lives.

    python -P flows/guardian.py COMMAND...

Servers that start children of their own (MLflow, a Prefect worker) leave them behind when they are
killed; the kernel tells this process that its parent is gone, and it ends the group.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 8.0


def _tie_to_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def main(command: list[str]) -> int:
    """Start `command` in a group of its own; forward the end of the parent to all of it."""
    _tie_to_parent(signal.SIGTERM)
    process = subprocess.Popen(
        command, start_new_session=True, preexec_fn=lambda: _tie_to_parent(signal.SIGKILL)
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal_group(process.pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    code = process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    return code


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
