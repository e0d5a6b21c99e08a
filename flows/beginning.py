"""What every flow does first: quiet logs, the caller's display, and an end to endless retries."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.display import Display
from flows.failure import retry_command
from flows.logs import quiet_user_errors
from flows.run import Call, current_call
from flows.show import guarded
from flows.zombies import crash_stale_tasks
from pipeline.store.errors import TrainingError

MAX_ATTEMPTS = 4
"""Of one flow run; a run that crashed is started again (see zombies.py), but not for ever."""


def is_deployment_run() -> bool:
    """Whether a worker started this run; known without asking the server, which may be gone."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and run.deployment_id is not None


def begin(display: Callable[[], Display]) -> Call:
    """The call this flow answers; TrainingError once it has been started too often."""
    quiet_user_errors()
    attempts = int(flow_run.run_count or 1) if is_deployment_run() else 1
    if attempts > MAX_ATTEMPTS:
        raise TrainingError(
            f"this run was started {attempts} times and crashed each time; look at its log and the "
            "worker's, then start a new run"
        )
    if attempts > 1:
        guarded(None, partial(crash_stale_tasks, UUID(str(flow_run.id))))
    call = current_call(display)
    context = FlowRunContext.get()
    if not is_deployment_run() or context is None or context.flow_run is None:
        return call
    return replace(call, command=retry_command(context.flow_run))
