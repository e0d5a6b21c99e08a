"""`mill registry`: move the champion alias by hand."""

from pathlib import Path

from flows.commands.store import existing_root
from pipeline.tracking.promotion import promote, rollback


def promote_version(name: str, version: int, *, root: Path) -> None:
    """Make `version` the champion."""
    print(promote(existing_root(root), name, version))


def rollback_version(name: str, *, root: Path) -> None:
    """Give `champion` back to the former one."""
    print(rollback(existing_root(root), name))
