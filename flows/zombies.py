"""Runs that died without saying so are Crashed, and crashed runs are started again.

    heartbeats stop  -> Crashed       worker and run were killed, or their machine is gone
    no heartbeat     -> Crashed       they were killed before the run gave its first sign of life
    Crashed          -> Scheduled     a worker takes it up; it goes on from its last checkpoint
    Crashed 8 times  -> Failed        whatever it is, starting again does not help

Automations of the Prefect server, for runs of our deployments alone (tag `gristmill`); prefect.yaml
sets a heartbeat every 30 s.
"""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import Crashed, State

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENT = "No sign of life for"
"""So the message of a run begins that was crashed for its silence; an alert goes by it."""
SILENCE = timedelta(seconds=100)
"""Three heartbeats of 30 s may be lost."""
PAUSE = timedelta(seconds=30)
START = timedelta(minutes=5)
"""From Pending to Running a process starts and imports: some 10 s, a minute on a busy machine."""
MAX_CRASHES = 8  # a process that ends by a signal is reported twice
CRASHED = "prefect.flow-run.Crashed"
AFTERWARDS = (
    "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Pending", "Running",
    "Completed", "Failed", "Cancelled", "Cancelling",
)  # fmt: skip
ENDS = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
OURS = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.gristmill"}
RUNS = {"prefect.resource.id": "prefect.flow-run.*"}


def crash_on_silence(silence: timedelta = SILENCE) -> AutomationCore:
    """A run that gave a sign of life and then neither another one nor its end is Crashed."""
    return AutomationCore(
        name="gristmill: silent runs are crashed",
        description="No heartbeat: worker and run were killed, or their machine is gone.",
        trigger=EventTrigger(
            match=ResourceSpecification(RUNS),
            match_related=ResourceSpecification(OURS),
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDS},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"{SILENT} {silence.total_seconds():.0f} s: worker and run are "
                "gone, or cut off from this server.",
            )
        ],
    )


def crash_on_no_start(start: timedelta = START) -> AutomationCore:
    """A run that a worker took and that never gave a sign of life is Crashed.

    It would be Pending or Running for ever, and on a pool that takes one run at a time keep all
    others out. Running is no sign of life: a run can be killed between that and its first
    heartbeat, which follows at once in a run that lives.
    """
    begun = ("Pending", "Running")
    later = {f"prefect.flow-run.{name}" for name in AFTERWARDS if name not in begun}
    return AutomationCore(
        name="gristmill: runs that never begin are crashed",
        description="Taken by a worker, then nothing: the worker was killed in between.",
        trigger=EventTrigger(
            match=ResourceSpecification(RUNS),
            match_related=ResourceSpecification(OURS),
            after={"prefect.flow-run.Pending"},
            expect={HEARTBEAT, CRASHED, *later},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=start,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"Taken by a worker {start.total_seconds():.0f} s ago, and no sign of life "
                "since: the worker is gone.",
            )
        ],
    )


def retry_crashed(pause: timedelta = PAUSE) -> AutomationCore:
    """A run that crashed, and with which nothing else has happened since, is scheduled again.

    A cancelled run is not crashed and stays cancelled. Not at once: of a process that ends, the
    engine inside and the worker outside both say so, and the second must not hit the new attempt.
    """
    return AutomationCore(
        name="gristmill: crashed runs are started again",
        description="A worker takes the run up again; it goes on from its last checkpoint.",
        trigger=EventTrigger(
            match=ResourceSpecification(RUNS),
            match_related=ResourceSpecification(OURS),
            after={CRASHED},
            expect={f"prefect.flow-run.{name}" for name in AFTERWARDS},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=pause,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                message="It crashed; it goes on from what is finished and its last checkpoint.",
            )
        ],
    )


def give_up(times: int = MAX_CRASHES, within: timedelta = timedelta(hours=2)) -> AutomationCore:
    """What crashes again and again is Failed: code that cannot start would never be counted."""
    return AutomationCore(
        name="gristmill: runs that keep crashing have failed",
        description=f"{times} reports of a crash of the same run within {within}.",
        trigger=EventTrigger(
            match=ResourceSpecification(RUNS),
            match_related=ResourceSpecification(OURS),
            expect={CRASHED},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=times,
            within=within,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.FAILED,
                message="It crashed again and again; see its log and the worker's.",
            )
        ],
    )


def shipped() -> list[AutomationCore]:
    """What `mill deploy` creates."""
    return [crash_on_silence(), crash_on_no_start(), retry_crashed(), give_up()]


def crash_stale_tasks(flow_run_id: UUID | None = None) -> int:
    """End task runs that are still called running though their process is gone; how many.

    Of `flow_run_id`, asked as its next attempt begins; without it, of all flow runs that ended.
    Prefect starts tasks anew in every attempt, and nobody else would ever end the old ones.
    """
    ended = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
    of_runs = (
        FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ended)))
        if flow_run_id is None
        else FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    )
    under_way = TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    with get_client(sync_client=True) as client:
        stale = client.read_task_runs(
            flow_run_filter=of_runs,
            task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=under_way)),
        )
        state: State[Any] = Crashed(
            message="Its process was killed; nothing more came of this attempt."
        )
        for task_run in stale:
            client.set_task_run_state(task_run.id, state, force=True)
    return len(stale)


async def replace(client: PrefectClient, automation: AutomationCore) -> None:
    """Create the automation; one of the same name is removed first."""
    for existing in await client.read_automations_by_name(automation.name):
        await client.delete_automation(existing.id)
    await client.create_automation(automation)


def install(automations: list[AutomationCore]) -> None:
    """Create all on the server of PREFECT_API_URL."""

    async def create() -> Any:
        async with get_client() as client:
            for automation in automations:
                await replace(client, automation)

    asyncio.run(create())
