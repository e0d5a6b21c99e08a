"""Asking a training run to save and end: SIGTERM, or a caller's own request.

The loop looks at the flag after every step, saves and raises Preempted (exit code 143).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.store.errors import TrainingError

_requested = threading.Event()


class Preempted(TrainingError):
    """The run was asked to stop and saved its state; the same command goes on from there."""

    exit_code = 143


def request_stop() -> None:
    """Ask the training loop of this process to save and stop after the current step."""
    _requested.set()


def stop_requested() -> bool:
    """Whether somebody asked."""
    return _requested.is_set()


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM asks for a stop inside this block; off the main thread only `request_stop` does."""
    _requested.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        request_stop()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
