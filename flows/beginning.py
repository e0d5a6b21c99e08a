"""What every flow does first: quiet logs, the caller's display, an end to endless retries.

Also what nobody else can do: a password among the parameters is stored by Prefect's server before
any code of ours runs, so the run takes it out again before it refuses to work.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.display import Display
from flows.failure import retry_command
from flows.logs import quiet_user_errors
from flows.run import Call, current_call
from flows.show import guarded
from flows.zombies import crash_stale_tasks
from pipeline.store.errors import ConfigError, TrainingError
from pipeline.store.secrets import REMEDY, keys_with_credentials, without_credentials

MAX_ATTEMPTS = 4
"""Of one flow run; a run that crashed is started again (see zombies.py), but not for ever."""


def is_deployment_run() -> bool:
    """Whether a worker started this run; known without asking the server, which may be gone."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and run.deployment_id is not None


def begin(display: Callable[[], Display]) -> Call:
    """The call this flow answers.

    TrainingError once it has been started too often, ConfigError for credentials as parameters.
    """
    quiet_user_errors()
    _refuse_credentials()
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


def _refuse_credentials() -> None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None:
        return
    found = list(keys_with_credentials(run.parameters))
    if found:
        forgotten = guarded(None, partial(_forget, run))
        record = "were removed from" if forgotten else "could not be removed from"
        raise ConfigError(
            f"the parameters {', '.join(found)} hold credentials, which {record} the run's record; "
            f"change them, they have been in Prefect's database. {REMEDY}"
        )


def _forget(run: FlowRun) -> bool:
    """Write the run's parameters again, without what nobody should read."""
    with get_client(sync_client=True) as client:
        answer = client.update_flow_run(run.id, parameters=without_credentials(run.parameters))
    return answer.is_success
