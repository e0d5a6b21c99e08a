"""`mill dev`: a Prefect server, its workers and the MLflow UI on this machine, all on loopback."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import httpx

from flows.display import Display
from flows.environment import prepare_environment
from flows.root import prepare_root
from flows.server import START_SECONDS, PrefectServer, free_port, port_is_free, start_child
from flows.settings import MLFLOW_UI_VARIABLE, ROOT_VARIABLE
from pipeline.store.errors import ConfigError, MillError
from pipeline.store.provenance import CHECKOUT
from pipeline.tracking.config import default_artifacts, default_uri

GUARDIAN = Path(__file__).with_name("guardian.py")
POOLS = ("cpu", "gpu")  # as flows/deploying.py makes them, which loads Prefect
# Its job runners serve features nobody uses here, and take ten seconds to end.
MLFLOW_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
STOP_SECONDS = 25  # longer than the guardian's own grace


def run_development(root: Path, *, prefect_port: int, mlflow_port: int) -> None:
    """Start everything, print the addresses, wait for Ctrl-C or SIGTERM, stop everything."""
    root = prepare_root(root)
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        os.environ.pop(name, None)  # this server is the one meant here
    os.environ["PREFECT_HOME"] = str(root / "prefect")
    prepare_environment(root)
    ports = [_usable(prefect_port, "--prefect-port"), _usable(mlflow_port, "--mlflow-port")]
    if ports[0] == ports[1]:
        raise ConfigError(f"--prefect-port and --mlflow-port are both {ports[0]}; choose two")
    display = Display()
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with ExitStack() as stack:
        try:
            display.line(f"gristmill: starting Prefect and MLflow on {root}", style="bold")
            server = PrefectServer(root / "prefect", port=ports[0], ui=True)
            stack.callback(server.stop)
            _create_tracking_store(root)
            mlflow = _guarded(
                _mlflow_command(root, ports[1]), MLFLOW_QUIET, root / "journal" / "mlflow.log"
            )
            stack.callback(_stop, mlflow)
            server.wait_until_healthy()
            surroundings = {
                "PREFECT_API_URL": server.api_url,
                "PREFECT_HOME": str(server.home),
                ROOT_VARIABLE: str(root),
                MLFLOW_UI_VARIABLE: addresses[1],
                "PREFECT_LOGGING_LEVEL": "INFO",  # nobody watches the worker's terminal
            }
            _deploy(surroundings, root)
            children = {"Prefect server": server.process, "MLflow UI": mlflow}
            for pool in POOLS:
                worker = _guarded(
                    [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", pool],
                    surroundings, root / "prefect" / f"worker-{pool}.log",
                )  # fmt: skip
                stack.callback(_stop, worker)
                children[f"worker of the pool {pool}"] = worker
            _wait_for_mlflow(addresses[1], children)
            pools = " and ".join(POOLS)
            display.line(
                f"Prefect  {addresses[0]}    deployments ready, workers on the pools {pools}"
            )
            display.line(f"MLflow   {addresses[1]}")
            display.line("Ctrl-C stops everything, running flows too.", style="dim")
            while True:
                _check(children)
                time.sleep(0.5)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
            display.line("stopping", style="dim")


def _create_tracking_store(root: Path) -> None:
    """Make or migrate mlflow.db before the server and the flows open it at once."""
    from pipeline.tracking.store import open_client  # heavy: mlflow, while Prefect starts

    open_client(default_uri(root), root)


def _wait_for_mlflow(address: str, children: dict[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=2, trust_env=False) as client:
        while time.monotonic() < deadline:
            _check(children)
            try:
                if client.get(f"{address}/health").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise MillError(f"MLflow did not start at {address} within {START_SECONDS} s")


def _check(children: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in children.items():
        if process.poll() is not None:
            raise MillError(
                f"the {name} ended with code {process.returncode}; its log lies under the root"
            )


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


def _guarded(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    guard = [sys.executable, "-P", str(GUARDIAN), *command]
    return start_child(guard, environment=environment, log=log, cwd=CHECKOUT)


def _deploy(environment: dict[str, str], root: Path) -> None:
    """`mill deploy` on the new server, in a process of its own; MillError if it fails."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "flows.deploying", str(root)],
        env={**os.environ, **environment, "PYTHONSAFEPATH": "1"}, cwd=CHECKOUT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise MillError(f"the deployments failed:\n{result.stdout}{result.stderr}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
