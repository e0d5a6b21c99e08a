"""N steps, a kill at any moment, and the same command again: one undisturbed run, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
UNDISTURBED = "nowhere"
POINTS = ["in a step", "in the middle of a save", "before old checkpoints go", "before the facts",
          "before the manifest"]  # fmt: skip


def drive(folder: Path, points: list[str]) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "tests.training.driver", str(folder), *points],
        capture_output=True, text=True, timeout=280,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return drive(tmp_path_factory.mktemp("kills"), [UNDISTURBED, *POINTS])


@pytest.mark.parametrize("point", POINTS)
def test_killed_run_ends_like_an_undisturbed_one(runs, point):
    killed, undisturbed = runs[point], runs[UNDISTURBED]
    assert killed["first"] == -signal.SIGKILL
    assert killed["second"] == 0
    for same in ("weights", "fingerprint", "steps", "losses", "samples", "files"):
        assert killed[same] == undisturbed[same], same


def test_killed_run_goes_on_from_its_checkpoint(runs):
    assert runs["in a step"]["resumed"] == 1
    assert runs[UNDISTURBED]["resumed"] == 0


def test_records_have_every_step_once(runs):
    assert runs["in the middle of a save"]["steps"] == list(range(1, 13))
    assert runs["in the middle of a save"]["samples"] == ["untrained", "end"]


def test_sealed_artifact_holds_no_checkpoint_and_no_path_of_this_machine(runs):
    assert runs["in a step"]["files"] == [
        "curve.jsonl", "facts.json", "final/model.json", "final/model.safetensors",
        "manifest.json", "samples.jsonl",
    ]  # fmt: skip


@pytest.mark.slow
def test_twenty_random_moments_leave_the_same_weights(tmp_path, runs):
    points = [f"random:{i}" for i in range(20)]
    results = drive(tmp_path, points)
    assert {r["weights"] for r in results.values()} == {runs[UNDISTURBED]["weights"]}
    assert sum(r["first"] == -signal.SIGKILL for r in results.values()) >= 5
