"""A run that was taken and never gave a sign of life is Crashed, and only such a run."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.events import Event
from prefect.events.clients import PrefectEventsClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import PrefectServer, free_port
from flows.zombies import HEARTBEAT, crash_on_no_start, install
from tests.flows.conftest import Api, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    server = PrefectServer(tmp_path / "prefect", port=free_port())
    server.wait_until_healthy()
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        install([crash_on_no_start(timedelta(seconds=15))])
    yield Api(server.api_url)
    server.stop()


async def send_heartbeat(api: Api, run_id: str) -> None:
    """As a run's own process does."""
    related = [
        {"prefect.resource.id": "prefect.tag.gristmill", "prefect.resource.role": "tag"},
    ]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
    async with PrefectEventsClient(api.url) as client:
        await client.emit(Event(event=HEARTBEAT, resource=resource, related=related))


def test_runs_without_a_sign_of_life_are_crashed_and_others_left_alone(api: Api) -> None:
    flow = api.post("/flows/", {"name": "any"})
    runs = {}
    for name, states in {
        "taken": ["PENDING"],
        "running": ["PENDING", "RUNNING"],
        "alive": ["PENDING", "RUNNING"],
        "ended": ["PENDING", "RUNNING", "COMPLETED"],
    }.items():
        body = {"flow_id": flow["id"], "name": name, "tags": ["gristmill"]}
        runs[name] = api.post("/flow_runs/", body)["id"]
        for state in states:
            api.post(f"/flow_runs/{runs[name]}/set_state", {"state": {"type": state}})
    asyncio.run(send_heartbeat(api, runs["alive"]))

    def types() -> dict[str, str]:
        return {row["name"]: row["state_type"] for row in api.post("/flow_runs/filter", {})}

    until(lambda: types()["taken"] == types()["running"] == "CRASHED", 60, "both being crashed")
    until(lambda: types()["alive"] == "RUNNING" and types()["ended"] == "COMPLETED", 1, "others")
