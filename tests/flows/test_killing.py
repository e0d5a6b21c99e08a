"""`kill -9` at any moment, then the same command: the same fingerprints and the same weights."""

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import environment, mill, small_settings, write_settings
from tests.flows.killing import identities, run_in_child

STAGES = (
    "eval_set", "clean", "tokenizer", "tokenize", "examples", "pretrain", "finetune",
    "baselines", "evaluate", "export", "registry",
)  # fmt: skip


def untracked_settings(root: Path) -> dict:
    """The small graph without its mirror: forty runs need not be sent to MLflow."""
    settings = small_settings(root)
    settings["tracking"]["enabled"] = False
    return settings


@pytest.mark.slow
def test_four_kills_in_every_stage_change_nothing(small_run, tmp_path):
    settings = untracked_settings(tmp_path / "root")
    kills = 0
    for stage in STAGES:
        for at_call in (1, 2, 4, 7):
            code = run_in_child(settings, kill_in=stage, at_call=at_call)
            assert code in (-9, 0), f"{stage} at {at_call} ended with {code}"
            kills += code == -9
            if code == 0:
                break  # the stage writes less often than that; it is finished now
    assert run_in_child(settings) == 0
    assert kills >= 2 * len(STAGES)
    assert identities(tmp_path / "root") == identities(small_run)


@pytest.mark.slow
def test_twenty_random_kills_change_nothing(small_run, tmp_path):
    settings = untracked_settings(tmp_path / "root")
    rng = random.Random(0)
    for _ in range(20):
        run_in_child(settings, kill_in=rng.choice(STAGES), at_call=rng.randint(1, 12))
    assert run_in_child(settings) == 0
    assert identities(tmp_path / "root") == identities(small_run)


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("stage", [pytest.param("clean", marks=pytest.mark.slow), "pretrain"])
def test_kill_through_prefect_leaves_no_orphan_and_changes_nothing(small_run, tmp_path, stage):
    root = tmp_path / "root"
    settings = copy.deepcopy(small_settings(root))
    config = write_settings(tmp_path / "small.yaml", settings)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", "run", str(config)],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = root / stage
    deadline = time.monotonic() + 120
    while not folder.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    orphans = children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(orphans, timeout=10)
    assert [p.cmdline() for p in orphans if p.is_running() and p.status() != "zombie"] == []
    mill("run", str(config))
    assert identities(root) == identities(small_run)


@pytest.mark.slow
def test_deleted_databases_rebuild_nothing_and_the_champion_answers(small_run, tmp_path):
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(small_run), str(root)], check=True)
    before = identities(root)
    for name in ("mlflow.db", "prefect"):
        subprocess.run(["rm", "-rf", str(root / name)], check=True)
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    output = mill("run", str(config), "--no-prefect").stdout
    assert "\n+ " not in output
    assert identities(root) == before
    answer = mill(
        "chat", "models:/small@champion", "--once", "Parameters of f(a)", "--root", str(root)
    )
    assert answer.returncode == 0


def test_every_run_records_prediction_beside_outcome(small_run):
    plans = sorted((small_run / "journal").glob("*/plan.json"))
    rows = json.loads(Path(plans[0]).read_text())["rows"]
    built = [row for row in rows if row["outcome"] == "built"]
    assert len(built) >= 10
    assert all(row["seconds"] > 0 and row["actual_seconds"] >= 0 for row in built)
