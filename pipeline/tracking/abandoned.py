"""Runs whose process is gone: their journals are closed as KILLED, and MLflow is told.

A process killed with -9 cannot say that it ended; the next run under the same root says it instead.
"""

import json
import os
from pathlib import Path

from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.run import claim
from pipeline.tracking.shipping import RunShipper
from pipeline.tracking.store import UNAVAILABLE, open_store
from pipeline.tracking.sync import close_abandoned

TAIL_BYTES = 1 << 16


def close_dead_runs(root: Path, tracking: TrackingConfig) -> int:
    """Close the journals of dead runs and send them to the store; how many there were.

    Runs that are alive hold their own lock and are left alone. Where MLflow cannot be reached the
    rest waits for `mill store sync`.
    """
    closed = 0
    for directory in sorted((root / "journal").glob("*/")):
        if not (directory / "run.json").is_file() or _said_how_it_ended(directory):
            continue
        descriptor = claim(directory)
        if descriptor is None:
            continue
        try:
            close_abandoned(directory)
            closed += 1
            _send(root, directory, tracking_uri(tracking, root))
        finally:
            os.close(descriptor)
    return closed


def _said_how_it_ended(directory: Path) -> bool:
    """Whether the end of the journal says so; long journals need not be read for that."""
    path = directory / "flow.jsonl"
    try:
        with open(path, "rb") as journal:
            journal.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = journal.read().splitlines()
    except FileNotFoundError:
        return True
    for line in reversed(lines):
        try:
            event = json.loads(line).get("event")
        except (ValueError, AttributeError):
            continue  # torn, or begun before the tail
        if event in ("started", "finished"):
            return bool(event == "finished")
    return False


def _send(root: Path, directory: Path, uri: str) -> None:
    try:
        experiment = str(read_json(directory / "run.json")["experiment"])
        RunShipper(open_store(uri, root, experiment), root, directory).ship()
    except (*UNAVAILABLE, ArtifactError, KeyError, TypeError):
        return  # `mill store sync` names what is damaged and sends the rest
