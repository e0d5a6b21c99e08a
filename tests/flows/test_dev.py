"""`mill dev`: everything on loopback, nothing left behind, whoever ends it and however."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.flows.conftest import environment, mill


@dataclass
class Dev:
    """A running `mill dev`."""

    process: subprocess.Popen
    prefect: str
    mlflow: str

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> float:
        """Send the signal; the seconds until everything is gone."""
        family = self.family()
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        assert gone(family, 30), [p.cmdline() for p in family if alive(p)]
        return time.monotonic() - started


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(family: list[psutil.Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, family)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def start_dev(root: Path, cwd: Path) -> Dev:
    process = subprocess.Popen(
        [
            sys.executable, "-P", "-c", "from flows.cli import main; main()", "dev",
            "--root", str(root), "--prefect-port", "0", "--mlflow-port", "0",
        ],
        cwd=cwd, env=environment(OMP_NUM_THREADS="1"), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    text = ""
    while "Ctrl-C" not in text:
        line = process.stdout.readline()
        assert line, f"mill dev ended: {text}"
        text += line
    prefect, mlflow = re.findall(r"http://127\.0\.0\.1:\d+", text)
    return Dev(process, prefect, mlflow)


def listening_addresses(family: list[psutil.Process]) -> set[str]:
    return {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_taken_port_is_an_error_at_once(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for option in ("--prefect-port", "--mlflow-port"):
            result = mill("dev", "--root", str(tmp_path), option, port, check=False)
            assert result.returncode == 2
            assert f"error: {option}={port} is taken; choose another" in result.stderr


def test_two_equal_ports_are_an_error_at_once(tmp_path):
    result = mill(
        "dev", "--root", str(tmp_path), "--prefect-port", "1234", "--mlflow-port", "1234",
        check=False,
    )  # fmt: skip
    assert (result.returncode, "are both 1234" in result.stderr) == (2, True)


@pytest.mark.slow
def test_dev_serves_both_pages_on_loopback_and_leaves_nothing_behind(tmp_path):
    root = tmp_path / "root"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):  # each on the same root
        dev = start_dev(root, tmp_path)
        deployed = httpx.post(
            f"{dev.prefect}/api/deployments/filter", json={}, trust_env=False, timeout=60
        ).json()
        assert {row["name"] for row in deployed} == {
            "language-model", "continue-training", "fine-tune", "evaluate-and-gate",
            "corpus-refresh", "watch-corpus", "housekeeping",
        }  # fmt: skip
        assert httpx.get(dev.mlflow, trust_env=False, timeout=60).status_code == 200
        assert httpx.get(dev.prefect, trust_env=False, follow_redirects=True).status_code == 200
        assert listening_addresses(dev.family()) <= {"127.0.0.1", "::1"}
        assert dev.end(number) < 25
        if number != signal.SIGKILL:
            assert dev.process.returncode == 0


@pytest.mark.slow
def test_kill_of_dev_also_ends_a_flow_run_of_its_worker(tmp_path):
    dev = start_dev(tmp_path / "root", tmp_path)
    deployed = httpx.post(f"{dev.prefect}/api/deployments/filter", json={}, trust_env=False).json()
    identifier = next(row["id"] for row in deployed if row["name"] == "corpus-refresh")
    httpx.post(
        f"{dev.prefect}/api/deployments/{identifier}/create_flow_run",
        json={"parameters": {"preset": "tiny"}}, trust_env=False,
    ).raise_for_status()  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "root" / "eval-sets").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = dev.family()
    os.kill(dev.process.pid, signal.SIGKILL)
    dev.process.wait()
    assert gone(family, 40), [p.cmdline() for p in family if alive(p)]
