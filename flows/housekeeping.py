"""Housekeeping: what killed runs left behind goes, and what is left of the disk is said.

orphans    temporary files (*.tmp-PID), probes and unfinished directories nobody works on
journals   of runs that MLflow has, after keep_days
task runs  that Prefect calls running though their flow run has ended
"""

import shutil
from pathlib import Path

from prefect import flow
from prefect.states import Completed, State

from flows import show, signals
from flows.beginning import begin
from flows.leftovers import (
    ORPHAN_SECONDS,
    Removal,
    old_journals,
    remove,
    temporaries,
    unfinished,
)
from flows.root import prepare_root
from flows.settings import HousekeepingSettings, root_of_environment
from flows.zombies import crash_stale_tasks
from pipeline.store.errors import ConfigError

DEFAULT_ORPHAN_HOURS = ORPHAN_SECONDS / 3600
DEFAULT_UNFINISHED_DAYS = 14.0
DAY = 86_400.0
MARKS = ("journal", "locks", "resolved", "mlflow.db")
"""What every run leaves under its root."""


def clear(
    root: Path, settings: HousekeepingSettings, *, dry_run: bool
) -> list[tuple[Removal, bool]]:
    """Everything that is to go, and whether it went."""
    hours = DEFAULT_ORPHAN_HOURS if settings.orphan_hours is None else settings.orphan_hours
    days = DEFAULT_UNFINISHED_DAYS if settings.unfinished_days is None else settings.unfinished_days
    found = list(unfinished(root, older_than_seconds=days * DAY))
    inside = tuple(f"{one.path}/" for one in found)
    found += [
        one
        for one in temporaries(root, older_than_seconds=hours * 3600)
        if not one.path.startswith(inside)
    ]
    if settings.keep_days is not None:
        found += old_journals(root, older_than_seconds=settings.keep_days * DAY)
    return [(one, not dry_run and remove(one, root)) for one in found]


def own_root(root: Path) -> Path:
    """`root`, made if it is not there; ConfigError for a directory of somebody else.

    Whoever fills in the form of a run could name any; in it, this would remove files.
    """
    root = root.expanduser().absolute()
    if root.is_dir() and any(root.iterdir()) and not any((root / name).exists() for name in MARKS):
        raise ConfigError(
            f"root={root} has none of {', '.join(MARKS)}: it is no root of earlier runs; leave "
            "root empty for the deployment's own"
        )
    return prepare_root(root)


@flow(name="housekeeping", persist_result=False, on_failure=[show.failed])
def housekeeping(
    root: str = "",
    settings: HousekeepingSettings = HousekeepingSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
) -> State[None]:
    """Remove what killed runs left behind.

    Args:
        root: Where artifacts and stores live; empty: the deployment's own root.
        settings: What goes, and when.
    """
    call = begin(show.LoggedDisplay)
    given = root_of_environment() or "runs"
    place = own_root(Path(root)) if root else prepare_root(Path(given))
    dry_run = bool(settings.dry_run)
    rows = clear(place, settings, dry_run=dry_run)
    show.removals([(one.kind, one.path, one.num_bytes, went) for one, went in rows])
    gone = [one for one, went in rows if went or dry_run]
    num_bytes = sum(one.num_bytes for one in gone)
    held = f" ({len(rows) - len(gone)} more are in use)" if len(gone) < len(rows) else ""
    free = shutil.disk_usage(place)
    show.guarded(None, lambda: signals.disk(place))
    if not dry_run:
        show.guarded(None, crash_stale_tasks)
    text = (
        f"{'would remove' if dry_run else 'removed'} {len(gone)} things, {num_bytes / 1e6:,.1f} MB"
        f"{held}; {free.free / 1e9:,.1f} GB ({free.free / free.total:.0%}) of the disk are free"
    )
    call.display.line(text)
    return Completed(message=text)
