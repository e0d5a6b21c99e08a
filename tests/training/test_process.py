"""`python -m pipeline.training JOB.json`: alone, together, told to stop, and without its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store.errors import ArtifactError
from pipeline.training.job import read_job
from pipeline.training.launch import spawn
from pipeline.training.loop import train
from pipeline.training.records import read_records
from pipeline.training.sampling import Sampler
from tests.training.worlds import MODEL, RUNTIME, make_job

CHECKOUT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
TRAINING = [sys.executable, "-P", "-m", "pipeline.training"]
ABSENT = ("prefect", "mlflow", "datasets", "pydantic", "typer")
WITHOUT_FIVE_PACKAGES = f"""
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["pipeline.training", sys.argv[1]]
runpy.run_module("pipeline.training", run_name="__main__", alter_sys=True)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_ten_steps_train_where_five_packages_are_absent(tmp_path, world):
    job = make_job(tmp_path, *world)
    for name in ("model.py", "pipeline.py"):  # a user's own modules do not stand in for ours
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    ours = {**ENVIRONMENT, "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_FIVE_PACKAGES, str(job)],
        capture_output=True, text=True, env=ours, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 10
    assert (tmp_path / "job" / "final" / "model.safetensors").is_file()


def test_sigterm_saves_a_checkpoint_and_exits_143(tmp_path, world):
    job = make_job(tmp_path, *world, steps=1_000_000, checkpoint_every_seconds=1e6)
    curve = tmp_path / "job" / "curve.jsonl"
    process = subprocess.Popen(
        [*TRAINING, str(job)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    wait_for(lambda: curve.is_file() and curve.stat().st_size > 1000)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    (checkpoint,) = (tmp_path / "job" / "checkpoints").iterdir()
    last = [r["step"] for r in read_records(curve) if "train_loss" in r][-1]
    assert checkpoint.name == f"step-{last:08d}"


def test_sample_written_before_a_kill_is_read_back_not_written_twice(tmp_path, world):
    job, model = read_job(make_job(tmp_path, *world)), MODEL.build(seed=0)
    first = Sampler.open(job, model).write("end", step=10, seconds=1.0)
    again = Sampler.open(job, model).write("end", step=10, seconds=2.0)
    assert first and again == first


def test_broken_job_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"directory": 3}')
    with pytest.raises(ArtifactError, match=r"job\.json is not a training job"):
        read_job(path)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path, world, heard):
    curves = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        job = make_job(tmp_path / name, *world, batch_rows=5, micro_batch_rows=2)
        if processes == 1:
            train(read_job(job), RUNTIME.journal, RUNTIME.progress)
        else:
            facts = spawn(job, heard, heard, processes=2)
            assert facts["world_size"] == 2
        curves.append(read_records(tmp_path / name / "job" / "curve.jsonl"))
    one, two = curves
    assert [r["step"] for r in one] == [r["step"] for r in two]
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "validation_loss", "grad_norm"):
            if key in a:
                assert abs(a[key] - b[key]) < 1e-6 * max(1.0, a[key])
    assert heard.advances[-1] == (1600, 1600, "tokens")
    assert [step for step, values in heard.numbers if "train/loss" in values] == list(range(1, 11))


@pytest.mark.slow
def test_failure_in_a_process_reaches_the_stage_as_its_own_error(tmp_path, world, heard):
    job = make_job(tmp_path, *world, train_paths=("/nowhere/train-00000.arrow",))
    with pytest.raises(ArtifactError, match="nowhere"):
        spawn(job, heard, heard, processes=2)


def alive(marker: str) -> list[int]:
    """Processes whose command line names `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if marker in command and state != "Z" and "pipeline.training" in command:
                found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_stage(tmp_path, world, end):
    job = make_job(tmp_path, *world, steps=1_000_000, checkpoint_every_seconds=1e6)
    script = (
        "import sys; from pathlib import Path; from pipeline.store.runtime import Silent\n"
        "from pipeline.training.launch import spawn\n"
        "try: spawn(Path(sys.argv[1]), Silent(), Silent(), processes=2)\n"
        "except Exception as error: sys.exit(error.exit_code)\n"
    )
    parent = subprocess.Popen([sys.executable, "-P", "-c", script, str(job)], env=ENVIRONMENT)
    curve = tmp_path / "job" / "curve.jsonl"
    wait_for(lambda: curve.is_file() and curve.stat().st_size > 1000)
    assert len(alive(str(job))) >= 2
    parent.send_signal(end)
    code = parent.wait(timeout=60)
    assert code == (143 if end == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not alive(str(job)), seconds=10)
    saved = list((tmp_path / "job").glob("checkpoints/step-*"))
    assert len(saved) == (1 if end == signal.SIGTERM else 0)
