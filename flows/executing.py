"""Carry out a graph: predict, refuse what cannot work, run, report."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from flows import show
from flows.failure import explained
from flows.planning import predict
from flows.root import prepare_root
from flows.run import Call, Run, open_run
from pipeline.config import RunConfig

Made = TypeVar("Made")


def execute(
    config: RunConfig,
    graph: Callable[[Run], Made],
    *,
    name: str,
    call: Call,
    orchestrated: bool,
    may_build: frozenset[str] | None = None,
    foretold: bool = True,
    finish: Callable[[Run, Made], Any] = lambda run, made: None,
) -> Made | None:
    """Run `graph`; `finish` gets what it made. None if `call.only` ended it before its last line.

    `may_build` names the stages that may build (all others only reuse); `foretold=False` is for
    graphs that decide on the way what to do, which no plan can walk. Raises MillError for
    everything that is the user's to solve.
    """
    root = prepare_root(Path(config.root))
    display = call.display
    display.line(f"root {root}", style="dim")
    prediction = predict(config, root=root, graph=graph) if foretold else None
    if prediction is not None:
        prediction.refuse_if_impossible()
    made: Made | None = None
    with open_run(
        config, root=root, display=display, name=name, only=call.only, orchestrated=orchestrated,
        tags=show.run_tags() if orchestrated else {},
        observers=(show.PrefectProgress,) if orchestrated else (), may_build=may_build,
        command=call.command,
    ) as run:  # fmt: skip
        run.predictions = [
            {"stage": row.stage, "title": row.title, "seconds": row.seconds}
            for row in (prediction.rows if prediction is not None else ())
            if row.action == "build"
        ]
        try:
            made = graph(run)
        except Exception as error:
            if orchestrated and (told := explained(error)) is not error:
                raise told from error
            raise
        finally:
            if prediction is not None:
                with suppress(OSError):  # a full disk must not hide why the run ended
                    prediction.record(run.records, root / "journal" / run.run_id / "plan.json")
        finish(run, made)
    if config.tracking.enabled:
        from pipeline.tracking.abandoned import close_dead_runs  # mlflow, loaded by now

        close_dead_runs(root, config.tracking)
    return made
