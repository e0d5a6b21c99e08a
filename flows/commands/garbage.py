"""`mill store gc`: show, then remove what no registered model and no recent run needs."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.commands.store import existing_root
from pipeline.tracking.collecting import Garbage, Needs, find_garbage, remove
from pipeline.tracking.referring import needed_exports


def collect_garbage(
    root: Path, *, uri: str | None, keep_days: float, keep_runs: int, yes: bool
) -> None:
    """Print what may go and its size; with `yes` remove it."""
    root = existing_root(root)
    registered, aliased = needed_exports(root, uri=uri)
    needs = Needs(registered, aliased, keep_days * 86400.0, keep_runs)
    garbage = find_garbage(root, needs)
    console = Console()
    if not garbage:
        console.print("nothing to remove: everything here is needed")
        return
    console.print(_table(garbage))
    total = sum(item.bytes for item in garbage)
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(g.kind for g in garbage).items())
    if not yes:
        console.print(f"{counts}: {total / 1e6:,.1f} MB. Nothing was removed; add --yes to do so.")
        return
    freed = remove(garbage)
    console.print(f"removed {counts}: {freed / 1e6:,.1f} MB")


def _table(garbage: list[Garbage]) -> Table:
    table = Table("kind", "name", "MB", box=None, header_style="dim")
    for item in garbage:
        table.add_row(item.kind, item.name, f"{item.bytes / 1e6:,.1f}")
    return table
