"""Prefect's API goes away in the middle: the run carries on, and no stage is built twice."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.flows.conftest import environment, mill, small_settings, write_settings
from tests.flows.killing import identities


def server_of(pid: int) -> psutil.Process | None:
    for child in psutil.Process(pid).children():
        if any("create_app" in part for part in child.cmdline()):
            return child
    return None


@pytest.mark.slow
def test_run_whose_prefect_server_dies_ends_well_and_builds_nothing_twice(small_run, tmp_path):
    root = tmp_path / "root"
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    shutil.copytree(small_run, root)
    for folder in ("pretrain", "finetune", "eval", "export"):
        shutil.rmtree(root / folder)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", "run", str(config)],
        env=environment(PREFECT_CLIENT_MAX_RETRIES="1"), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (root / "pretrain").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    server = server_of(process.pid)
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    assert "going on without it" in output
    assert output.count("+ pretrain ") == 1
    assert "Traceback" not in output, output
    assert identities(root) == identities(small_run)


@pytest.mark.slow
def test_sigterm_after_the_api_died_still_saves_and_ends_with_143(small_run, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    settings = small_settings(root)
    settings["pretrain"]["horizon"] = {"steps": 1_000_000}
    config = write_settings(tmp_path / "long.yaml", settings)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", "run", str(config)],
        env=environment(PREFECT_CLIENT_MAX_RETRIES="1"), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any(set((root / "pretrain").glob("*/checkpoints/step-*"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    server = server_of(process.pid)
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 143, output
    assert "Traceback" not in output


@pytest.mark.slow
def test_api_that_was_never_there_is_a_warning_and_the_run_is_done(small_run, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    config = write_settings(tmp_path / "small.yaml", small_settings(root))
    result = mill(
        "run", str(config), PREFECT_API_URL="http://127.0.0.1:9/api",
        PREFECT_CLIENT_MAX_RETRIES="0",
    )  # fmt: skip
    assert "going on without it" in result.stdout
    assert "\n= pretrain " in result.stdout and "\n+ " not in result.stdout  # reused, not built
