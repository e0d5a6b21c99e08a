"""A Prefect server as a child of this process, tied to its life.

Prefect's own temporary server outlives a parent killed with -9 (200 MB each). Ours is started with
PR_SET_PDEATHSIG, so the kernel ends it with its parent, on a free loopback port.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from pipeline.store.errors import ConfigError, MillError

PR_SET_PDEATHSIG = 1
START_SECONDS = 120
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel kills this child when its parent is gone (Linux)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether nothing listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start_child(
    arguments: list[str], *, environment: dict[str, str], log: Path, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that dies with this one, its output in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **environment, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            # A session of its own: Ctrl-C in the terminal and `timeout` signal the whole group, and
            # a run that saves its state on SIGTERM still needs its server to say so.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


class PrefectServer:
    """A running server: `api_url`, `ui_url`; `stop()` ends it."""

    def __init__(self, home: Path, *, port: int | None = None, ui: bool = False) -> None:
        if port and not port_is_free(port):
            raise ConfigError(f"port {port} is taken; choose another, or 0 for a free one")
        self.port = port or free_port()
        self.home = home
        self.log = home / "server.log"
        address = f"http://127.0.0.1:{self.port}"
        self.ui_url, self.api_url = address, f"{address}/api"
        environment = {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Without this the pages call port 4200, whatever port they came from.
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "PREFECT_SERVER_UI_ENABLED": "true" if ui else "false",
            "PREFECT_API_URL": self.api_url,
        }
        arguments = [
            sys.executable, "-P", "-m", "uvicorn", "--factory",
            "prefect.server.api.server:create_app", "--host", "127.0.0.1",
            "--port", str(self.port), "--log-level", "warning", "--lifespan", "on",
        ]  # fmt: skip
        self.process = start_child(arguments, environment=environment, log=self.log)

    def wait_until_healthy(self, waiting: Callable[[float], None] = lambda seconds: None) -> None:
        """Return when the server answers; MillError with its log's end when it cannot start."""
        started = time.monotonic()
        with httpx.Client(timeout=2, trust_env=False) as client:
            while time.monotonic() - started < START_SECONDS:
                if self.process.poll() is not None:
                    break
                try:
                    if client.get(f"{self.api_url}/health").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                waiting(time.monotonic() - started)
                time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-1500:] if self.log.is_file() else ""
        self.stop()
        raise MillError(
            f"the Prefect server did not start on port {self.port} within {START_SECONDS} s; its "
            f"log {self.log} ends:\n{tail}\nrun with --no-prefect to do without it"
        )

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def prefect_api(root: Path, configured: str | None) -> Iterator[PrefectServer | None]:
    """The user's server if one is configured (yields None), else a child server for this block.

    `PREFECT_API_URL` is set for the block's duration, so Prefect never starts a temporary one.
    """
    # The display says how a run goes and how it ended; Prefect's own lines are in its pages.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if configured:
        yield None
        return
    # A child that is gone does not come back: Prefect's five retries would wait a minute per call.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
    home = Path(os.environ.get("PREFECT_HOME") or root / "prefect")
    server = PrefectServer(home)
    os.environ["PREFECT_API_URL"] = server.api_url
    try:
        yield server
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.stop()
