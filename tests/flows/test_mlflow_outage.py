"""MLflow's server dies in the middle: training does not wait, and a later sync is exact."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from flows.development import MLFLOW_QUIET
from flows.server import free_port
from tests.flows.conftest import environment, mill, small_settings, write_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def start_mlflow(folder: Path, port: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [
            sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
            str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db",
            "--artifacts-destination", str(folder / "artifacts"),
        ],
        cwd=folder, env=environment(**MLFLOW_QUIET), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                return process
        except httpx.TransportError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_long(folder: Path, finished: Path, uri: str, during: Callable[[], None]) -> Path:
    """Train 3,000 steps with `during` called once checkpoints are there; the root."""
    root = folder / "root"
    shutil.copytree(finished, root)
    settings = small_settings(root)
    settings["pretrain"]["horizon"] = {"steps": 3000}
    settings["tracking"] |= {"uri": uri, "drain_seconds": 2}
    config = write_settings(folder / "long.yaml", settings)
    before = set((root / "pretrain").iterdir())
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", "run", str(config),
         "--no-prefect"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not any(
        list(new.glob("checkpoints/step-*")) for new in set((root / "pretrain").iterdir()) - before
    ):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    during()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return root


def test_server_killed_in_training_costs_nothing_and_sync_is_exact(small_run, tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = start_mlflow(tmp_path, port)
    try:
        root = run_long(tmp_path, small_run, uri, lambda: kill(server))
        server = start_mlflow(tmp_path, port)
        mill("store", "sync", "--root", str(root), "--uri", uri)
        again = mill("store", "sync", "--root", str(root), "--uri", uri).stdout
        assert ", 0 records sent" in again
        newest = max(path.parent for path in (root / "journal").glob("*/pretrain.jsonl"))
        lines = (newest / "pretrain.jsonl").read_text().splitlines()
        wanted = [
            (row["step"], row["metrics"]["train/loss"])
            for line in lines
            if "train/loss" in (row := json.loads(line)).get("metrics", {})
        ]
        assert len(wanted) > 5
        assert sent_metrics(uri, newest.name, "train/loss") == sorted(wanted)
    finally:
        kill(server)


def sent_metrics(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    """Every value of a metric of the run's pretraining, as the server has it."""
    with httpx.Client(base_url=f"{uri}/api/2.0/mlflow", trust_env=False) as client:
        found = client.post("/experiments/search", json={"max_results": 10}).json()["experiments"]
        query = {
            "experiment_ids": [e["experiment_id"] for e in found],
            "filter": f"tags.`gristmill.run_id` = '{run_id}' AND attributes.run_name = 'pretrain'",
        }
        (run,) = client.post("/runs/search", json=query).json()["runs"]
        parameters = {
            "run_id": run["info"]["run_id"],
            "metric_key": name,
            "max_results": 20_000,
        }
        rows = client.get("/metrics/get-history", params=parameters).json()["metrics"]
    return sorted((int(row["step"]), float(row["value"])) for row in rows)
