"""The Prefect server that `mill run` starts lives exactly as long as its parent."""

import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from flows.server import PrefectServer
from pipeline.store.errors import ConfigError, MillError

PARENT = """
import sys, time
from pathlib import Path
from flows.server import PrefectServer
server = PrefectServer(Path(sys.argv[1]))
server.wait_until_healthy()
print(server.process.pid, server.api_url, flush=True)
time.sleep(600)
"""


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_server_dies_with_a_parent_killed_by_minus_nine(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(
        lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie"
    )


def test_taken_port_is_an_error_at_once(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken"):
            PrefectServer(tmp_path, port=port)


def test_server_that_ends_while_starting_says_so_with_its_log(tmp_path):
    (tmp_path / "prefect.db").write_bytes(b"this is no database" * 100)
    server = PrefectServer(tmp_path)
    try:
        with pytest.raises(MillError, match="--no-prefect"):
            server.wait_until_healthy()
    finally:
        server.stop()
