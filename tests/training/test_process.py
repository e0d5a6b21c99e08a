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
import torch

from model.checkpoint_io import load_tensors
from model.optim import AdamWConfig, AnyOptimizer, MuonConfig
from pipeline.artifacts import TokenShards, TrainedTokenizer
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import sha256_file
from pipeline.training.devices import World
from pipeline.training.job import read_job
from pipeline.training.launch import spawn
from pipeline.training.loop import train
from pipeline.training.parallel import parallel
from pipeline.training.records import read_records
from pipeline.training.sampling import Sampler
from tests.training.worlds import MODEL, RUNTIME, make_job

World_ = tuple[TrainedTokenizer, TokenShards]
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
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
@pytest.mark.parametrize("optimizer", [AdamWConfig(learning_rate=3e-3), MuonConfig()], ids=type)
def test_two_processes_learn_what_one_learns(tmp_path, world, heard, distribution, optimizer):
    curves = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        rows = 5 if distribution == "ddp" else 6
        job = make_job(
            tmp_path / name, *world, batch_rows=rows, micro_batch_rows=2, optimizer=optimizer,
            distribution=distribution, keep="best", validation_tokens=96,
        )  # fmt: skip
        if processes == 1:
            train(read_job(job), RUNTIME.journal, RUNTIME.progress)
        else:
            facts = spawn(job, heard, heard, processes=2)
            assert facts["world_size"] == 2
        curves.append(read_records(tmp_path / name / "job" / "curve.jsonl"))
    one, two = curves
    assert [r["step"] for r in one] == [r["step"] for r in two]
    # Gradients are summed in another order, and Muon multiplies in bfloat16: a last bit may move a
    # whole step of it.
    tolerance = 1e-6 if isinstance(optimizer, AdamWConfig) else 2e-3
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "validation_loss", "grad_norm"):
            if key in a:
                assert abs(a[key] - b[key]) < tolerance * max(1.0, a[key]), (a, b)
    assert heard.advances[-1] == (320 * rows, 320 * rows, "tokens")
    assert [step for step, values in heard.numbers if "train/loss" in values] == list(range(1, 11))
    texts = [(tmp_path / name / "job" / "samples.jsonl").read_text() for name in ("one", "two")]
    assert len(texts[0].splitlines()) == len(texts[1].splitlines()) == 2
    shapes = [
        {
            k: v.shape
            for k, v in load_tensors(tmp_path / name / "job/final/model.safetensors").items()
        }
        for name in ("one", "two")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
@pytest.mark.parametrize("optimizer", [AdamWConfig(learning_rate=3e-3), MuonConfig()], ids=type)
def test_two_processes_make_the_bits_of_one_that_adds_the_same_halves(
    tmp_path: Path, world: World_, distribution: str, optimizer: AnyOptimizer
) -> None:
    ends = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        # Without clipping: the norm of shared gradients is a sum in another order.
        job = make_job(
            folder, *world, batch_rows=4, micro_batch_rows=2, optimizer=optimizer, prompts=(),
            distribution=distribution, grad_clip=None if distribution == "fsdp" else 1.0,
        )  # fmt: skip
        if processes == 1:
            train(read_job(job), RUNTIME.journal, RUNTIME.progress)
        else:
            spawn(job, RUNTIME.journal, RUNTIME.progress, processes=processes)
        curve = [r["train_loss"] for r in read_records(job.parent / "curve.jsonl")
                 if "train_loss" in r]  # fmt: skip
        ends.append((sha256_file(job.parent / "final" / "model.safetensors"), curve))
    assert len(ends[0][1]) == 10
    assert ends[0] == ends[1]


KILLED_TOGETHER = """
import sys, threading, time, os, signal
from pathlib import Path
from pipeline.store.runtime import Silent
from pipeline.training.launch import spawn
wait = float(sys.argv[2])
class Deadly(Silent):
    def advance(self, done, total, unit):
        if wait and done >= wait * total:
            os.kill(os.getpid(), signal.SIGKILL)
spawn(Path(sys.argv[1]), Silent(), Deadly(), processes=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
def test_two_processes_killed_and_resumed_end_with_the_same_bits(tmp_path, world, distribution):
    ends = []
    for name, moments in (("undisturbed", [0.0]), ("killed", [0.3, 0.7, 0.0])):
        (tmp_path / name).mkdir()
        job = make_job(
            tmp_path / name, *world, steps=20, checkpoint_every_seconds=0.0,
            distribution=distribution,
        )  # fmt: skip
        for moment in moments:
            code = subprocess.run(
                [sys.executable, "-P", "-c", KILLED_TOGETHER, str(job), str(moment)],
                env=ENVIRONMENT, timeout=120,
            ).returncode  # fmt: skip
            assert code == (-signal.SIGKILL if moment else 0)
            wait_for(lambda job=job: not alive(str(job)), seconds=10)
        curve = read_records(tmp_path / name / "job" / "curve.jsonl")
        losses = [(r["step"], r["train_loss"]) for r in curve if "train_loss" in r]
        ends.append((sha256_file(tmp_path / name / "job/final/model.safetensors"), losses))
    assert ends[0] == ends[1]


def test_rows_that_do_not_divide_are_refused_where_weights_are_shared():
    with pytest.raises(ConfigError, match="does not divide by 2 processes"):
        parallel("fsdp", world=World(0, 2, 0), device=torch.device("cpu"), batch_rows=5)


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
