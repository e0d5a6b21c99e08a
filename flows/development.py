"""`mill dev`: a Prefect server, a worker and the MLflow UI on this machine, all on loopback."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from flows.display import Display
from flows.environment import prepare_environment
from flows.root import prepare_root
from flows.server import PrefectServer, free_port, port_is_free, start_child
from flows.settings import ROOT_VARIABLE
from pipeline.store.errors import ConfigError, MillError
from pipeline.store.provenance import CHECKOUT
from pipeline.tracking.config import default_artifacts, default_uri

GUARDIAN = Path(__file__).with_name("guardian.py")
POOL = "local"
STOP_SECONDS = 10


def run_development(root: Path, *, prefect_port: int, mlflow_port: int) -> None:
    """Start everything, print the addresses, wait for Ctrl-C or SIGTERM, stop everything."""
    root = prepare_root(root)
    prepare_environment(root)
    ports = [_usable(prefect_port, "--prefect-port"), _usable(mlflow_port, "--mlflow-port")]
    display = Display()
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        try:
            server = PrefectServer(root / "prefect", port=ports[0], ui=True)
            stack.callback(server.stop)
            mlflow = _guarded(_mlflow_command(root, ports[1]), {}, root / "journal" / "mlflow.log")
            stack.callback(_stop, mlflow)
            server.wait_until_healthy()
            surroundings = {
                "PREFECT_API_URL": server.api_url,
                "PREFECT_HOME": str(server.home),
                ROOT_VARIABLE: str(root),
            }
            _prefect(surroundings, "work-pool", "create", POOL, "--type", "process", "--overwrite")
            _prefect(surroundings, "--no-prompt", "deploy", "--all")
            worker = _guarded(
                [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", POOL],
                surroundings, root / "prefect" / "worker.log",
            )  # fmt: skip
            stack.callback(_stop, worker)
            display.line(f"Prefect  http://127.0.0.1:{ports[0]}    (worker on the pool {POOL!r})")
            display.line(f"MLflow   http://127.0.0.1:{ports[1]}")
            display.line("Ctrl-C stops all three.", style="dim")
            _watch({"Prefect server": server.process, "MLflow UI": mlflow, "worker": worker})
        except KeyboardInterrupt:
            display.line("stopping", style="dim")


def _watch(children: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in children.items():
            if process.poll() is not None:
                raise MillError(
                    f"the {name} ended with code {process.returncode}; see the logs under the root"
                )
        time.sleep(0.5)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _usable(port: int, option: str) -> int:
    if port == 0:
        return free_port()
    if not port_is_free(port):
        raise ConfigError(f"{option}={port} is taken; choose another, or 0 for a free one")
    return port


def _mlflow_command(root: Path, port: int) -> list[str]:
    return [
        sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", default_uri(root),
        "--artifacts-destination", default_artifacts(root), "--host", "127.0.0.1", "--port",
        str(port), "--workers", "1",
    ]  # fmt: skip


def _guarded(
    command: list[str], environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    guard = [sys.executable, "-P", str(GUARDIAN), *command]
    return start_child(guard, environment=environment, log=log, cwd=CHECKOUT)


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    """One `prefect` command in the checkout; MillError with its output if it fails."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", *arguments],
        env={**os.environ, **environment, "PYTHONSAFEPATH": "1"}, cwd=CHECKOUT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise MillError(f"prefect {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
