"""A stage as the flows use it: the plain function, its Prefect task, and what surrounds a call.

`Stage` objects are made once, at module level. Called with a Run they either go through Prefect
(state, retries, artifacts) or call the plain function; config in, artifacts in, artifact out.
"""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task
from prefect.utilities.annotations import quote

from flows.run import Planned, Run
from pipeline.store.errors import MillError, NotBuilt

Parameters = ParamSpec("Parameters")
Noun = TypeVar("Noun")


def worth_retrying(_task: Task[Any, Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect retries passing faults only: the file system, lost workers and timeouts."""
    error = state.data if isinstance(state.data, BaseException) else None
    if error is None:
        try:
            state.result()
        except BaseException as raised:  # noqa: BLE001 - the state's own exception, looked at only
            error = raised
    return isinstance(error, OSError | TimeoutError) and not isinstance(error, MillError)


class Stage(Generic[Noun]):
    """One row of the graph."""

    def __init__(
        self, name: str, function: Callable[..., Noun], *, show: Callable[[Run, Noun], None] | None = None,
        extras: Callable[[Run], dict[str, Any]] = lambda run: {},
        retries: int = 0, tags: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.function = function
        self.show = show
        self.extras = extras
        self.task = task(
            self._run_task,
            name=name,
            task_run_name="{title}",
            description=(function.__doc__ or "").strip().split("\n")[0],
            retries=retries,
            retry_delay_seconds=[5, 30][:retries] or None,
            retry_condition_fn=worth_retrying,
            cache_policy=NO_CACHE,  # the manifests are the cache
            persist_result=False,
            tags=tags,
        )

    def __call__(self, run: Run, config: Any, *inputs: Any, label: str = "") -> Noun:
        """Run the stage, through Prefect if the run is orchestrated."""
        title = f"{self.name}-{label}" if label else self.name
        run.before(self.name)
        if any(isinstance(value, Planned) for value in inputs):
            return run.plan_only(self.name, title)  # type: ignore[return-value]
        if run.orchestrated:
            # quote: Prefect shall hand these over as they are, not walk through them.
            return self.task(quote(run), quote(config), quote(inputs), title)
        return self._execute(run, config, inputs, title)

    def _run_task(
        self, run: Run, config: Any, inputs: tuple[Any, ...], title: str
    ) -> Noun:
        noun = self._execute(run, config, inputs, title)
        if self.show is not None:
            self.show(run, noun)
        return noun

    def _execute(self, run: Run, config: Any, inputs: tuple[Any, ...], title: str) -> Noun:
        with run.stage(self.name, title) as runtime:
            try:
                extras = self.extras(run)
                noun = self.function(config, *inputs, root=run.root, runtime=runtime, **extras)
            except NotBuilt:
                if not run.planning:
                    raise
                return run.plan_only(self.name, title)  # type: ignore[return-value]
            run.finished(self.name, title, noun)
        return noun
