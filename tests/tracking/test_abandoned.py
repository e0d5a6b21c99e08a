"""The next run closes those whose process is gone, in the journal and in MLflow."""

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.tracking.abandoned import close_dead_runs
from pipeline.tracking.config import TrackingConfig, default_uri
from pipeline.tracking.registry import opened
from pipeline.tracking.repairing import REGISTRAR_TAG, registrar
from pipeline.tracking.run import start_tracking
from pipeline.tracking.store import open_store

QUIET = TrackingConfig(system_metrics_seconds=None)
DIES = """
import os, signal, sys
from pathlib import Path
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.run import start_tracking
tracking = start_tracking(
    TrackingConfig(system_metrics_seconds=None), Path(sys.argv[1]), "dead", "dead", {}
)
tracking.params({"a": 1})
tracking.mlflow_run_id(wait_seconds=60)
os.kill(os.getpid(), signal.SIGKILL)
"""


def statuses(root: Path) -> dict[str, str]:
    opened = open_store(default_uri(root), root, QUIET.experiment)
    runs = opened.client.search_runs([opened.experiment_id])
    return {run.info.run_name: run.info.status for run in runs}


def test_killed_run_is_closed_and_a_living_one_left_alone(tmp_path: Path) -> None:
    checkout = str(Path(__file__).resolve().parents[2])
    code = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)], check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": checkout},
    ).returncode  # fmt: skip
    assert code == -9 and statuses(tmp_path) == {"dead": "RUNNING"}
    living = start_tracking(QUIET, tmp_path, "living", "living", {})
    assert living.mlflow_run_id(wait_seconds=60)
    assert close_dead_runs(tmp_path, QUIET) == 1
    assert statuses(tmp_path) == {"dead": "KILLED", "living": "RUNNING"}
    living.finish("FINISHED")
    assert close_dead_runs(tmp_path, QUIET) == 0  # both have said how they ended
    assert statuses(tmp_path) == {"dead": "KILLED", "living": "FINISHED"}
    last = (tmp_path / "journal" / "dead" / "flow.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["facts"]["status"] == "KILLED"


def test_store_that_is_away_leaves_the_rest_to_the_sync(tmp_path: Path) -> None:
    begun = start_tracking(TrackingConfig(enabled=False), tmp_path, "dead", "dead", {})
    os.close(begun._owner)  # type: ignore[arg-type]  # as the kernel does for a dead process
    begun._owner = None
    away = TrackingConfig(uri="http://127.0.0.1:9")
    assert close_dead_runs(tmp_path, away) == 1
    assert close_dead_runs(tmp_path, away) == 0


def test_registration_that_was_killed_ends_when_the_registry_is_opened_again(
    tmp_path: Path,
) -> None:
    store = open_store(default_uri(tmp_path), tmp_path, QUIET.experiment)
    for name, root in (("killed", tmp_path), ("elsewhere", tmp_path / "other")):
        store.client.create_run(
            store.experiment_id, run_name=name, tags={REGISTRAR_TAG: registrar(root)}
        )
    living = start_tracking(QUIET, tmp_path, "living", "living", {})
    assert living.mlflow_run_id(wait_seconds=60)
    with opened(tmp_path):
        found = statuses(tmp_path)
    living.finish("FINISHED")
    assert found == {"killed": "KILLED", "elsewhere": "RUNNING", "living": "RUNNING"}
