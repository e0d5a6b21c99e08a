"""Twenty scheduled runs, killed at random moments: in the end all is done and nothing is left over.

No process, no temporary or unfinished file, no lock that is held, no run that is called running in
Prefect or MLflow.
"""

import fcntl
import random
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from flows.housekeeping import temporaries, unfinished
from pipeline.tracking.config import default_uri
from tests.flows.conftest import small_settings, until
from tests.flows.test_dev import alive
from tests.flows.test_zombies import World

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]
RUNS = 20
KILLS = 10
MOST_PER_RUN = 2  # the fifth start of a run is refused
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
UNDER_WAY = ["RUNNING", "PENDING", "CANCELLING", "SCHEDULED", "PAUSED"]


class Soak(World):
    """The world of the zombie tests, with twenty short runs in its schedule."""

    def __init__(self, folder: Path, finished: Path) -> None:
        super().__init__(folder, finished, steps=40)
        try:
            self._schedule()
        except BaseException:
            self.close()
            raise

    def _schedule(self) -> None:
        rows = self.api.post("/deployments/filter", {})
        identifier = next(row["id"] for row in rows if row["name"] == "language-model")
        first = datetime.now(UTC)
        for number in range(1, RUNS):
            settings = small_settings(self.root)
            settings["finetune"]["seed"] = number  # work of its own from there on
            settings["evaluate"] |= {"questions_per_kind": 1, "max_tokens": 4}
            when = (first + timedelta(seconds=number)).isoformat()
            self.api.post(
                f"/deployments/{identifier}/create_flow_run",
                {
                    "parameters": {"config": settings},
                    "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": when}},
                },
            )

    def runs(self) -> list[dict]:
        return self.api.post("/flow_runs/filter", {"limit": 200})

    def engines(self) -> dict[str, psutil.Process]:
        """The process of every run under way, by the run's id."""
        found = {}
        for process in psutil.Process(self.worker.pid).children(recursive=True):
            try:
                surroundings = process.environ()
            except psutil.Error:
                continue
            if identifier := surroundings.get("PREFECT__FLOW_RUN_ID"):
                found.setdefault(identifier, process)
        return found

    def left_processes(self) -> list[str]:
        """Everything on this machine that was started for this root, but the server."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = str(self.folder) in " ".join(process.cmdline()) or any(
                    str(self.root) in value for value in process.environ().values()
                )
                if mine and alive(process) and process.pid != self.server.process.pid:
                    found.append(" ".join(process.cmdline())[:200])
            except psutil.Error:
                continue
        return found


@pytest.fixture
def soak(small_run: Path, tmp_path: Path) -> Iterator[Soak]:
    world = Soak(tmp_path, small_run)
    yield world
    world.close()
    shutil.rmtree(world.root)


def held_locks(root: Path) -> list[str]:
    """Lock files that somebody still holds."""
    held = []
    for path in [*(root / "locks").glob("*.lock"), *(root / "journal").glob("*/owner.lock")]:
        with open(path, "rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(path.name)
    return held


def kill_now_and_then(soak: Soak) -> int:
    """Kill runs with -9 until all have ended; how many were killed."""
    rng = random.Random(0)
    killed: dict[str, int] = {}
    workers_killed = 0
    next_kill = time.monotonic() + 5
    deadline = time.monotonic() + 1200
    while any(row["state_type"] not in ENDED for row in soak.runs()):
        assert time.monotonic() < deadline, [
            (r["name"], r["state_type"], r["run_count"]) for r in soak.runs()
        ]
        time.sleep(0.5)
        if time.monotonic() < next_kill or sum(killed.values()) >= KILLS:
            continue
        running = [(i, p) for i, p in soak.engines().items() if killed.get(i, 0) < MOST_PER_RUN]
        if not running:
            continue
        identifier, process = rng.choice(sorted(running, key=lambda pair: pair[0]))
        time.sleep(rng.uniform(0, 6))
        if not alive(process):
            continue
        killed[identifier] = killed.get(identifier, 0) + 1
        if workers_killed < 1 and sum(killed.values()) == KILLS // 2:
            workers_killed += 1
            soak.end_worker()
            soak.worker = soak.start_worker()
        else:
            process.kill()
        next_kill = time.monotonic() + rng.uniform(2, 14)
    return sum(killed.values())


def test_twenty_scheduled_runs_with_random_kills_leave_nothing_behind(soak: Soak) -> None:
    kills = kill_now_and_then(soak)
    rows = soak.runs()
    assert len(rows) == RUNS and {row["state_type"] for row in rows} == {"COMPLETED"}
    assert kills >= KILLS // 2 and sum(row["run_count"] for row in rows) > RUNS
    soak.worker.terminate()
    soak.worker.wait(timeout=60)
    until(lambda: not soak.left_processes(), 30, "the end of all processes")

    under_way = {"state": {"type": {"any_": UNDER_WAY}}}
    assert soak.api.post("/flow_runs/filter", {"flow_runs": under_way}) == []
    tasks = soak.api.post("/task_runs/filter", {"task_runs": under_way})
    assert [(row["name"], row["state_type"]) for row in tasks] == []
    client = MlflowClient(default_uri(soak.root))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    assert [run.info.run_name for run in running] == []

    assert held_locks(soak.root) == []
    assert list(temporaries(soak.root, older_than_seconds=0)) == []
    assert list(unfinished(soak.root, older_than_seconds=0)) == []
