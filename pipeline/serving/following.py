"""A server that follows an alias: look, load the new version beside the old one, swap.

Whatever fails on the way leaves the old version answering, says so, and is tried again later.
"""

import threading
import time
from collections.abc import Callable

from pipeline.serving.engine import Serving
from pipeline.serving.loading import LoadedModel
from pipeline.store.errors import MillError
from pipeline.tracking.store import UNAVAILABLE
from pipeline.tracking.versions import Version

RETRY_SECONDS = 60.0  # a version that could not be loaded; its files may have been mended by then
LOADING_FAULTS = (MillError, *UNAVAILABLE, RuntimeError, ValueError, KeyError, TypeError)
"""A foreign directory can be wrong in many ways; MemoryError and faults of ours are not caught."""


class Follower:
    """Keeps `serving` at the version an alias points to."""

    def __init__(
        self,
        serving: Serving,
        read: Callable[[], Version | None],
        load: Callable[[Version], LoadedModel],
        *,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving, self._read, self._load = serving, read, load
        self._say, self._clock = say, clock
        self._refused: tuple[int, float] | None = None
        """The version that could not be loaded, and when to try again."""

    def look(self) -> bool:
        """Ask once and follow; whether another version answers now."""
        try:
            version = self._read()
        except (MillError, *UNAVAILABLE) as error:
            return self._stay(f"the registry cannot be asked: {_first_line(error)}")
        if version is None:
            return self._stay(f"{self._serving.reference} points to nothing any more")
        if version.number == self._serving.version:
            self._serving.problem = None
            return False
        if self._refused is not None:
            number, again = self._refused
            if number == version.number and self._clock() < again:
                return False
        try:
            self._serving.swap(self._load(version), version.number)
        except LOADING_FAULTS as error:
            self._refused = (version.number, self._clock() + RETRY_SECONDS)
            return self._stay(f"version {version.number} cannot be loaded: {_first_line(error)}")
        self._refused = None
        self._say(f"now answering: {self._serving.current.loaded.description}")
        return True

    def run(self, stop: threading.Event, seconds: float) -> None:
        """Look every `seconds` until `stop` is set."""
        while not stop.wait(seconds):
            self.look()

    def _stay(self, problem: str) -> bool:
        if problem != self._serving.problem:  # once, not at every look
            self._say(f"{problem}; {self._serving.current.source} goes on answering")
        self._serving.problem = problem
        return False


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
