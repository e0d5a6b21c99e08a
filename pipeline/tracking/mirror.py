"""The background thread that keeps MLflow up to date with the journal.

Nobody waits for it: when the store does not answer, the thread says so once and tries again later,
more and more rarely; the journal keeps everything for `sync`.
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store.errors import ArtifactError
from pipeline.tracking.config import reachable, sync_command

if TYPE_CHECKING:
    from pipeline.tracking.shipping import RunShipper

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0


class Mirror:
    """Ships one run directory while it grows; `close` sends the rest within a time limit."""

    def __init__(self, root: Path, directory: Path, *, uri: str, experiment: str) -> None:
        self._root = root
        self._directory = directory
        self._uri = uri
        self._experiment = experiment
        self._closing = threading.Event()
        self._run_known = threading.Event()
        self._warned = False
        self._shipper: RunShipper | None = None
        self.experiment_id: str | None = None
        self.run_id: str | None = None
        """MLflow's id of the parent run, once the store has answered."""
        self.complete = False
        """Whether the last attempt sent everything there was."""
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def wait_for_run(self, seconds: float) -> str | None:
        """MLflow's run id, waiting at most `seconds` for it."""
        self._run_known.wait(seconds)
        return self.run_id

    def close(self, seconds: float) -> bool:
        """Send what is left, waiting at most `seconds`; True if MLflow has everything."""
        self._closing.set()
        self._thread.join(seconds)
        if self._thread.is_alive() or not self.complete:
            self._warn("it did not take everything in time")
        return self.complete

    def _run(self) -> None:
        pause = POLL_SECONDS
        while True:
            closing = self._closing.is_set()
            # Asked before mlflow is imported: a dead server costs not even that.
            if reachable(self._uri):
                reason = self._ship()
            else:
                reason = "nothing listens there"
            self.complete = reason is None
            if reason is None:
                pause = POLL_SECONDS
            else:
                self._shipper = None
                self._warn(reason)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            if closing:
                self._run_known.set()
                return
            self._closing.wait(pause)

    def _ship(self) -> str | None:
        """Send what there is; None, or why it could not be done now."""
        # Imported here: mlflow costs a second, and the caller has other things to do meanwhile.
        from pipeline.tracking.shipping import RunShipper
        from pipeline.tracking.store import UNAVAILABLE, open_store

        try:
            if self._shipper is None:
                store = open_store(self._uri, self._root, self._experiment)
                self.experiment_id = store.experiment_id
                self._shipper = RunShipper(store, self._root, self._directory)
            self._shipper.ship()
        except (*UNAVAILABLE, ArtifactError) as error:
            return str(error) or type(error).__name__
        self._announce(self._shipper.run_id)
        return None

    def _announce(self, run_id: str | None) -> None:
        if run_id is not None and self.run_id is None:
            self.run_id = run_id
            self._run_known.set()

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            first_line = reason.splitlines()[0]
            logger.warning(
                "MLflow at %s cannot be reached (%s); the run goes on, its record is kept in %s, "
                "`%s` sends it later",
                self._uri,
                first_line[:300],
                self._directory,
                sync_command(self._uri, self._root),
            )
