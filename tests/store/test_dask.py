import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import RuntimeConfig
from pipeline.corpus.reading import RawPart, read_sources
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.store.dask_cluster import dask_executor
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.executor import run_jobs
from pipeline.store.files import file_lock
from pipeline.store.manifest import is_finished
from pipeline.store.runtime import Runtime, Silent

distributed = pytest.importorskip("distributed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "in"
    home.mkdir()
    for i in range(6):
        rows = "".join(f'{{"text": "file {i} row {k}"}}\n' for k in range(200))
        (home / f"{i}.jsonl").write_text(rows)
    return home


@pytest.fixture
def cluster() -> Iterator[object]:
    """Two workers of one thread each; what dies comes back."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def source(folder: Path) -> JsonlSource:
    return JsonlSource(name="web", paths=(str(folder),))


def content(parts: list[RawPart]) -> list[tuple[str, bytes]]:
    return [(part.fingerprint, part.documents_path.read_bytes()) for part in parts]


@pytest.mark.slow
def test_dask_writes_the_bytes_of_the_local_pool(folder: Path, tmp_path: Path) -> None:
    local = read_sources([source(folder)], root=tmp_path / "local", runtime=Runtime(workers=2))
    runtime = Runtime(workers=2, executor_kind="dask")
    dask = read_sources([source(folder)], root=tmp_path / "dask", runtime=runtime)
    assert content(dask) == content(local)


@pytest.mark.slow
def test_work_of_a_killed_dask_worker_is_done_by_the_others(
    folder: Path, tmp_path: Path, cluster: object
) -> None:
    expected = read_sources([source(folder)], root=tmp_path / "local", runtime=Runtime())
    root = tmp_path / "dask"
    stuck = root / "parts" / "read" / expected[2].path.name
    lock = root / "locks" / f"read-{stuck.name}.lock"
    address = cluster.scheduler_address  # type: ignore[attr-defined]
    killed: list[int] = []

    def kill_the_one_that_waits() -> None:
        """Hold the lock of one part until all others are there, then kill who waits for it."""
        with distributed.Client(address) as client:
            pids = client.run(os.getpid)
            with file_lock(lock, owner="the test", wait_seconds=1, waiting=print):
                ready.set()
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    done = [is_finished(root / "parts" / "read" / p.path.name) for p in expected]
                    busy = [who for who, jobs in client.processing().items() if jobs]
                    if sum(done) == len(expected) - 1 and len(busy) == 1:
                        killed.append(pids[busy[0]])
                        os.kill(killed[0], signal.SIGKILL)
                        break
                    time.sleep(0.05)

    ready = threading.Event()
    thread = threading.Thread(target=kill_the_one_that_waits)
    thread.start()
    assert ready.wait(30)
    runtime = Runtime(workers=2, executor_kind="dask", dask_scheduler=address)
    parts = read_sources([source(folder)], root=root, runtime=runtime)
    thread.join()
    assert len(killed) == 1
    assert content(parts) == content(expected)


def fail_or_die(job: str) -> str:
    """A job that raises, ends its process or answers."""
    if job == "raise":
        raise ConfigError("the job's own error")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.slow
def test_errors_of_jobs_arrive_unchanged(cluster: object) -> None:
    address = cluster.scheduler_address  # type: ignore[attr-defined]
    runtime = Runtime(workers=2, executor_kind="dask", dask_scheduler=address)
    assert run_jobs(runtime, fail_or_die, ["a", "b"]) == ["a", "b"]
    with pytest.raises(ConfigError, match="the job's own error"):
        run_jobs(runtime, fail_or_die, ["a", "raise"])
    with pytest.raises(ArtifactError, match="died again and again on one job"):
        run_jobs(runtime, fail_or_die, ["die"])


@pytest.mark.slow
def test_workers_that_share_a_process_are_refused() -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as made:
        with pytest.raises(ConfigError, match="--nthreads 1"):
            with dask_executor(made.scheduler_address, workers=1):
                pass


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="pip install distributed"):
        with dask_executor(None, workers=1):
            pass


def test_settings_reach_the_runtime_and_must_fit() -> None:
    config = RuntimeConfig(executor="dask", dask_scheduler="tcp://host:8786")
    runtime = config.build(device="cpu", journal=Silent(), progress=Silent(), may_build=True)
    assert (runtime.executor_kind, runtime.dask_scheduler) == ("dask", "tcp://host:8786")
    for wrong in ({"dask_scheduler": "tcp://host:1"}, {"executor": "dask", "dask_scheduler": "x"}):
        with pytest.raises(ValidationError):
            RuntimeConfig(**wrong)
