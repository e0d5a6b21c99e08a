"""A run that a worker took and never began: Crashed and scheduled again; others are let alone."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.events import Event as PrefectEvent
from prefect.events import RelatedResource, Resource
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import PrefectServer
from flows.zombies import (
    HEARTBEAT,
    START,
    crash_on_no_start,
    install,
    retry_crashed,
    shipped,
)
from tests.flows.conftest import Api, until

TAG = {"prefect.resource.id": "prefect.tag.gristmill", "prefect.resource.role": "tag"}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A server that looks at what did not happen every second, with our automations sped up."""
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_TRIGGERS_PROACTIVE_GRANULARITY", "1")
    server = PrefectServer(tmp_path / "prefect")
    try:
        server.wait_until_healthy()
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            install(
                [crash_on_no_start(timedelta(seconds=10)), retry_crashed(timedelta(seconds=10))]
            )
            yield Api(server.api_url)
    finally:
        server.stop()


async def new_flow() -> str:
    async with get_client() as client:
        return str(await client.create_flow_from_name("nightly"))


def new_deployment(api: Api) -> str:
    """Prefect schedules only runs of a deployment again."""
    row = api.post("/deployments/", {"name": "nightly", "flow_id": asyncio.run(new_flow())})
    assert isinstance(row, dict)
    return str(row["id"])


def begin(api: Api, deployment: str, name: str, *, tags: tuple[str, ...] = ("gristmill",)) -> str:
    """A run that a worker has just taken."""
    asked = {"name": name, "tags": tags}
    row = api.post(f"/deployments/{deployment}/create_flow_run", asked)
    assert isinstance(row, dict)
    move(api, row["id"], "PENDING")
    return str(row["id"])


def move(api: Api, run: str, state: str) -> None:
    api.post(f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})


def states(api: Api, run: str) -> list[tuple[str, str]]:
    """(name, message) of all its states, oldest first."""
    rows = api.client.get(f"{api.url}/flow_run_states/", params={"flow_run_id": run}).json()
    ordered = sorted(rows, key=lambda row: row["timestamp"])
    return [(row["name"], row["message"] or "") for row in ordered]


def names(api: Api, run: str) -> list[str]:
    return [name for name, _ in states(api, run)]


def after_crash(api: Api, run: str) -> list[str]:
    """The states that followed; a run without a worker soon is Late."""
    found = names(api, run)
    return found[found.index("Crashed") + 1 :]


@contextmanager
def beating(api: Api, run: str) -> Iterator[None]:
    """A run that lives: heartbeats every second.

    Posted by themselves: the client of this process sends events to whatever server an earlier
    test has told it of.
    """
    done = Event()

    def beat() -> None:
        resource = Resource({"prefect.resource.id": f"prefect.flow-run.{run}"})
        while not done.wait(1):
            sign = PrefectEvent(
                occurred=datetime.now(UTC), event=HEARTBEAT, resource=resource,
                related=[RelatedResource(TAG)], id=uuid4(),
            )  # fmt: skip
            api.post("/events", [sign.model_dump(mode="json")])

    with ThreadPoolExecutor(1) as pool:
        beats = pool.submit(beat)
        try:
            yield
        finally:
            done.set()
        beats.result()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_run_that_stays_pending_is_crashed_and_scheduled_again(api: Api) -> None:
    deployment = new_deployment(api)
    stuck = begin(api, deployment, "stuck")
    half = begin(api, deployment, "killed before its first heartbeat")
    move(api, half, "RUNNING")
    alive = begin(api, deployment, "alive")
    move(api, alive, "RUNNING")
    ended = begin(api, deployment, "ended")
    move(api, ended, "FAILED")
    foreign = begin(api, deployment, "of somebody else", tags=())
    with beating(api, alive):
        for run in (stuck, half):
            until(lambda run=run: "Crashed" in names(api, run), 60, "Crashed")  # type: ignore[misc]
            said = dict(states(api, run))["Crashed"]
            assert said.startswith("Taken by a worker 10 s ago, and no sign of life since")
            until(lambda run=run: "Scheduled" in after_crash(api, run), 60, "its new start")  # type: ignore[misc]
    assert names(api, alive)[-1] == "Running"
    assert names(api, ended)[-1] == "Failed"
    assert names(api, foreign)[-1] == "Pending"


def test_five_minutes_without_a_start_are_shipped() -> None:
    automation = next(one for one in shipped() if "never begin" in one.name)
    assert automation.trigger.within == START == timedelta(minutes=5)  # type: ignore[union-attr]
