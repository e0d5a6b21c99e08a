"""Runs that died without saying so are Crashed, and crashed runs are started again.

    heartbeats stop  -> Crashed       worker and run were killed, or their machine is gone
    Crashed          -> Scheduled     a worker takes it up; it goes on from its last checkpoint

Both are automations of the Prefect server, for runs of our deployments alone (tag `gristmill`).
`flows.beginning` ends what crashes again and again. prefect.yaml sets a heartbeat every 30 s.
"""

import asyncio
from datetime import timedelta
from typing import Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENCE = timedelta(seconds=100)
"""Three heartbeats of 30 s may be lost."""
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
                message=f"No sign of life for {silence.total_seconds():.0f} s: worker and run are "
                "gone, or cut off from this server.",
            )
        ],
    )


def retry_crashed() -> AutomationCore:
    """A crashed run is scheduled again; finished stages and checkpoints are where it goes on."""
    return AutomationCore(
        name="gristmill: crashed runs are started again",
        description="A worker takes the run up again; it goes on from its last checkpoint.",
        trigger=EventTrigger(
            match=ResourceSpecification(RUNS),
            match_related=ResourceSpecification(OURS),
            expect={"prefect.flow-run.Crashed"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                message="It crashed; it goes on from what is finished and its last checkpoint.",
            )
        ],
    )


def shipped() -> list[AutomationCore]:
    """What `mill deploy` creates."""
    return [crash_on_silence(), retry_crashed()]


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
