"""A stage as the flows use it: the plain function, its Prefect task, and what surrounds a call.

`Stage` objects are made once, at module level. Called with a Run they either go through Prefect
(state, retries, artifacts) or call the plain function; config in, artifacts in, artifact out.
"""

import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.tasks import Task
from prefect.utilities.annotations import quote

from flows.beginning import is_deployment_run
from flows.failure import note, notes_of
from flows.run import Planned, Run
from pipeline.artifacts import Artifact
from pipeline.store.errors import MillError, NotBuilt
from pipeline.training.stopping import Preempted

Parameters = ParamSpec("Parameters")
Noun = TypeVar("Noun")
RETRY_DELAY_SECONDS = [5.0, 30.0]


def worth_retrying(_task: Task[Any, Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect retries passing faults only: the file system, lost workers and timeouts."""
    error = state.data if isinstance(state.data, BaseException) else None
    passing = isinstance(error, OSError | TimeoutError | BrokenExecutor)
    return passing and not isinstance(error, MillError)


def _flat(inputs: tuple[Any, ...]) -> list[Any]:
    """The inputs, and what tuples among them hold."""
    return [one for value in inputs for one in (value if isinstance(value, tuple) else (value,))]


class Stage(Generic[Noun]):
    """One row of the graph."""

    def __init__(
        self, name: str, function: Callable[..., Noun], *,
        show: Callable[[Run, Noun], None] | None = None,
        extras: Callable[[Run, tuple[Any, ...]], dict[str, Any]] = lambda run, inputs: {},
        retries: int = 0, tags: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.function = function
        self.show = show
        self.extras = extras
        self.task = task(
            name=name,
            task_run_name="{title}",
            description=(function.__doc__ or "").strip().split("\n")[0],
            retries=retries,
            retry_delay_seconds=RETRY_DELAY_SECONDS[:retries],
            retry_condition_fn=worth_retrying,
            cache_policy=NO_CACHE,  # the manifests are the cache
            persist_result=False,
            tags=tags,
        )(self._run_task)

    def __call__(self, run: Run, config: Any, *inputs: Any, label: str = "") -> Noun:
        """Run the stage, through Prefect if the run is orchestrated."""
        title = f"{self.name}-{label}" if label else self.name
        run.before(self.name)
        if any(isinstance(value, Planned) for value in _flat(inputs)):
            return run.plan_only(self.name, title)  # type: ignore[return-value]
        if run.orchestrated:
            # quote: Prefect shall hand these over as they are, not walk through them; wait_for is
            # what draws the arrows between the boxes of its pages.
            upstream = [value for value in _flat(inputs) if isinstance(value, Artifact)]
            return self.task(quote(run), quote(config), quote(inputs), title, wait_for=upstream)
        return self._execute(run, config, inputs, title)

    def _run_task(self, run: Run, config: Any, inputs: tuple[Any, ...], title: str) -> Noun:
        try:
            noun = self._execute(run, config, inputs, title)
        except Preempted as error:
            if not is_deployment_run():
                raise  # the command line ends with the error's own exit code
            # Stopped after saving is no failure: cancelled stays cancelled, a run whose machine was
            # taken away is crashed, and started again.
            stopped = TerminationSignal(signal=signal.SIGTERM)
            stopped.add_note("; ".join(notes_of(error)))
            raise stopped from error
        if self.show is not None:
            self.show(run, noun)
        return noun

    def _execute(self, run: Run, config: Any, inputs: tuple[Any, ...], title: str) -> Noun:
        try:
            with run.stage(self.name, title) as runtime:
                extras = self.extras(run, inputs)
                noun = self.function(config, *inputs, root=run.root, runtime=runtime, **extras)
                run.finished(self.name, title, noun)
            return noun
        except NotBuilt:
            if not run.planning:
                raise
            return run.plan_only(self.name, title)  # type: ignore[return-value]
        except BaseException as error:
            note(error, run, title)
            if not isinstance(error, Exception):
                raise  # Ctrl-C, SIGTERM, cancelled: whoever asked for it knows
            run.display.line(
                f"x {title:<14} stopped; finished stages are kept, the same command goes on here",
                style="red",
            )
            raise
