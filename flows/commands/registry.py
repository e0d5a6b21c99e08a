"""`mill registry`: move the champion alias by hand."""

from pathlib import Path

from flows.commands.store import existing_root
from pipeline.tracking.config import TrackingConfig, tracking_at
from pipeline.tracking.promotion import promote, rollback


def promote_version(name: str, version: int, *, root: Path, uri: str | None = None) -> None:
    """Make `version` the champion."""
    print(promote(existing_root(root), name, version, tracking=_tracking(uri)))


def rollback_version(name: str, *, root: Path, uri: str | None = None) -> None:
    """Give `champion` back to the former one."""
    print(rollback(existing_root(root), name, tracking=_tracking(uri)))


def _tracking(uri: str | None) -> TrackingConfig | None:
    return None if uri is None else tracking_at(uri)
