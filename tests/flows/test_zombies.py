"""Runs of a worker that are killed, cancelled or cut off: nothing is lost, nothing stays behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import PrefectServer, free_port
from flows.zombies import crash_on_no_start, crash_on_silence, install, retry_crashed
from tests.flows.conftest import Api, environment, mill, small_settings, until
from tests.flows.test_dev import alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class World:
    """A server, the deployments, a worker on the pool gpu, and one long run of it."""

    def __init__(self, folder: Path, finished: Path, steps: int) -> None:
        self.folder, self.port = folder, free_port()
        self.server = PrefectServer(folder / "prefect", port=self.port)
        self.server.wait_until_healthy()
        self.api = Api(self.server.api_url)
        self.root = folder / "root"
        shutil.copytree(finished, self.root)
        self.before = set((self.root / "pretrain").iterdir())
        self.journals = set((self.root / "journal").iterdir())
        self.surroundings = {
            "PREFECT_API_URL": self.server.api_url, "PREFECT_HOME": str(folder / "home"),
        }  # fmt: skip
        mill("deploy", "--root", str(self.root), **self.surroundings)
        with temporary_settings({PREFECT_API_URL: self.server.api_url}):  # sooner than is shipped
            install(
                [
                    crash_on_silence(timedelta(seconds=65)),
                    crash_on_no_start(timedelta(seconds=40)),
                    retry_crashed(timedelta(seconds=10)),
                ]
            )
        self.worker = self.start_worker()
        settings = small_settings(self.root)
        settings["pretrain"]["horizon"] = {"steps": steps}
        rows = self.api.post("/deployments/filter", {})
        identifier = next(row["id"] for row in rows if row["name"] == "language-model")
        run = self.api.post(
            f"/deployments/{identifier}/create_flow_run", {"parameters": {"config": settings}}
        )
        self.run_id = run["id"]

    def start_worker(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", "gpu"],
            cwd=self.folder, env=environment(**self.surroundings),
        )  # fmt: skip

    def state(self) -> dict:
        row = self.api.client.get(f"{self.api.url}/flow_runs/{self.run_id}").json()
        return {**row["state"], "run_count": row["run_count"]}

    def checkpoints(self) -> list[Path]:
        """The whole ones; one that is being written has another name."""
        new = set((self.root / "pretrain").iterdir()) - self.before
        found = [path for folder in new for path in folder.glob("checkpoints/step-*")]
        return [path for path in found if ".tmp-" not in path.name]

    def trained(self) -> Path:
        (new,) = set((self.root / "pretrain").iterdir()) - self.before
        return new

    def statuses(self) -> list[str]:
        """How the runs recorded under the root ended, oldest first."""
        new = set((self.root / "journal").iterdir()) - self.journals
        found = []
        for folder in sorted(path for path in new if path.is_dir()):
            lines = (folder / "flow.jsonl").read_text().splitlines()
            ends = [row["facts"] for line in lines if (row := json.loads(line)).get("event")
                    == "finished"]  # fmt: skip
            found.append(ends[-1]["status"] if ends else "")
        return found

    def end_worker(self) -> None:
        """Kill the worker and all it started."""
        family = psutil.Process(self.worker.pid).children(recursive=True)
        self.worker.kill()
        for process in filter(alive, family):
            process.kill()
        self.worker.wait()

    def close(self) -> None:
        if self.worker.poll() is None:
            self.end_worker()
        self.server.stop()


@pytest.fixture
def world(small_run, tmp_path) -> Iterator[World]:
    world = World(tmp_path, small_run, steps=4000)
    until(world.checkpoints, 180, "the first checkpoint")
    yield world
    world.close()


def test_worker_and_run_killed_become_crashed_and_go_on_from_the_checkpoint(world):
    world.end_worker()
    assert world.checkpoints() and world.state()["type"] == "RUNNING"  # nobody says otherwise
    until(lambda: world.state()["type"] in ("CRASHED", "SCHEDULED"), 120, "Crashed")
    world.worker = world.start_worker()
    until(lambda: world.state()["type"] in ENDED, 240, "the end")
    assert (world.state()["type"], world.state()["run_count"]) == ("COMPLETED", 2)
    facts = json.loads((world.trained() / "manifest.json").read_text())["facts"]
    assert facts["resumed"]


def test_cancelled_run_saves_ends_its_children_and_is_killed_in_mlflow(world):
    family = psutil.Process(world.worker.pid).children(recursive=True)
    before = {path.name for path in world.checkpoints()}
    answer = world.api.client.post(
        f"{world.api.url}/flow_runs/{world.run_id}/set_state",
        json={"state": {"type": "CANCELLING"}},
    )
    assert answer.is_success
    until(lambda: world.state()["type"] in ENDED, 90, "the end")
    assert world.state()["type"] == "CANCELLED"
    until(lambda: not any(map(alive, family)), 30, "the end of all children")
    assert {path.name for path in world.checkpoints()} - before
    assert world.statuses() == ["KILLED"]


def test_api_that_is_gone_for_fifteen_seconds_costs_nothing(world):
    os.kill(world.server.process.pid, signal.SIGKILL)
    world.server.process.wait()
    time.sleep(15)
    world.server = PrefectServer(world.folder / "prefect", port=world.port)
    world.server.wait_until_healthy()
    until(lambda: world.state()["type"] in ENDED, 240, "the end")
    assert (world.state()["type"], world.state()["run_count"]) == ("COMPLETED", 1)
    assert world.statuses() == ["FINISHED"]


def test_api_that_is_gone_for_good_costs_no_work(world):
    os.kill(world.server.process.pid, signal.SIGKILL)
    world.server.process.wait()
    manifest = world.trained() / "manifest.json"
    until(manifest.is_file, 240, "the end of the training")  # nobody is told, the work is done
    world.end_worker()  # which gives up by itself, minutes later
    built = manifest.stat().st_mtime_ns
    world.server = PrefectServer(world.folder / "prefect", port=world.port)
    world.server.wait_until_healthy()
    world.worker = world.start_worker()
    state = {"state": {"type": "SCHEDULED"}, "force": True}  # as `prefect flow-run retry` does
    world.api.post(f"/flow_runs/{world.run_id}/set_state", state)
    until(lambda: world.state()["type"] in ENDED, 240, "the end")
    assert world.state()["type"] == "COMPLETED"
    assert manifest.stat().st_mtime_ns == built  # reused, not trained again
