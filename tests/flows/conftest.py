"""One small graph, run once per session, that the tests of the flows look at."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli import main
from flows.server import PrefectServer

CHECKOUT = Path(__file__).resolve().parents[2]

# A script's background job ignores SIGINT, and so would all that is started here: Prefect's worker
# could not be stopped.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def small_settings(root: Path) -> dict:
    """Settings of the whole graph at the smallest size that means something."""
    return {
        "root": str(root),
        "runtime": {"workers": 1, "threads": 1, "checkpoint_every_seconds": 0.2, "device": "cpu"},
        "tracking": {"system_metrics_seconds": None},
        "eval_set": {"name": "small", "max_bytes": 40_000},
        "clean": {
            "sources": [
                {"kind": "pydocs", "standard_library": False, "packages": ["tqdm", "typer"]}
            ]
        },
        "tokenizer": {"kind": "trained", "vocab_size": 1024},
        "tokenize": {"validation_fraction": 0.05},
        "examples": {
            "source": {"kind": "pydocs", "max_per_kind": 20, "max_held_out_per_kind": 4}
        },
        "pretrain": {
            "model": {
                "kind": "qwen3", "width": 32, "layers": 1, "heads": 2, "kv_heads": 2,
                "head_width": 16, "hidden_width": 64,
            },
            "context_length": 128, "batch_rows": 4, "horizon": {"steps": 40},
            "validation_every": 20, "validation_tokens": 1024, "prompts": ["Return"],
            "sample_tokens": 8, "dtype": "float32",
        },
        "finetune": {
            "horizon": {"steps": 10}, "batch_rows": 4, "validation_every": 5,
            "validation_tokens": 1024, "sample_tokens": 8, "dtype": "float32",
        },
        "evaluate": {
            "questions_per_kind": 2, "max_tokens": 8, "max_answer_tokens": 8, "prompts": ["Return"],
            "bootstrap_draws": 100,
        },
        "registry": {"name": "small"},
    }  # fmt: skip


def write_settings(path: Path, settings: dict) -> Path:
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: no Prefect server of the developer's own, our code importable."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PREFECT_", "MLFLOW_", "GRISTMILL_"))
    }
    return {**kept, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "120", **more}


def mill(
    *arguments: str, cwd: Path | None = None, check: bool = True, timeout: float = 240, **more: str
):
    """Run the command line in a process of its own, as a user does."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", *arguments],
        cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


def mill_here(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command line in this process: the same code without the seconds that imports take."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    result = subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
    if check:
        assert code == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """The root of an undisturbed run of the small graph, made without Prefect."""
    folder = tmp_path_factory.mktemp("small")
    root = folder / "root"
    config = write_settings(folder / "small.yaml", small_settings(root))
    mill_here("run", str(config), "--no-prefect")
    wait_for_mirrors()
    return root


def wait_for_mirrors() -> None:
    """On a busy machine MLflow gets the rest after a run's end; till then its files come and go."""
    for thread in threading.enumerate():
        if thread.name == "mlflow-mirror":
            thread.join(120)
            assert not thread.is_alive()


class Api:
    """The server's API, as a browser would use it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(trust_env=False, timeout=30)

    def post(self, path: str, body: dict | list) -> object:
        for _ in range(20):
            answer = self.client.post(f"{self.url}{path}", json=body)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # its database is busy
                break
            time.sleep(0.5)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def artifacts(self, flow_run_id: str) -> dict[str, dict]:
        wanted = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        return {row["key"]: row for row in self.post("/artifacts/filter", wanted)}


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.wait_until_healthy()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def api(server: PrefectServer) -> Api:
    return Api(server.api_url)


@pytest.fixture
def in_process(server: PrefectServer) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield
