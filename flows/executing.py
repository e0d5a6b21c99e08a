"""Carry out a graph: predict, refuse what cannot work, run, report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flows import show
from flows.display import Display
from flows.planning import predict
from flows.root import prepare_root
from flows.run import Run, open_run
from pipeline.config import RunConfig

Made = TypeVar("Made")


def execute(
    config: RunConfig,
    graph: Callable[[Run], Made],
    *,
    name: str,
    display: Display,
    orchestrated: bool,
    only: str | None = None,
    finish: Callable[[Run, Made], Any] = lambda run, made: None,
) -> Made | None:
    """Run `graph`; `finish` gets what it made. None if `only` ended it before its last line.

    Raises MillError for everything that is the user's to solve.
    """
    root = prepare_root(Path(config.root))
    display.line(f"root {root}", style="dim")
    prediction = predict(config, root=root, graph=graph)
    prediction.refuse_if_impossible()
    made: Made | None = None
    with open_run(
        config, root=root, display=display, name=name, only=only, orchestrated=orchestrated,
        tags=show.run_tags() if orchestrated else {},
        observers=(show.PrefectProgress,) if orchestrated else (),
    ) as run:  # fmt: skip
        run.predictions = [
            {"stage": row.stage, "title": row.title, "seconds": row.seconds}
            for row in prediction.rows
            if row.action == "build"
        ]
        try:
            made = graph(run)
        finally:
            prediction.record(run.records, root / "journal" / run.run_id / "plan.json")
        finish(run, made)
    return made
