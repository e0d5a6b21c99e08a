"""N steps, a kill at any moment, and the same command again: one undisturbed run, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.driver import UNDISTURBED

CHECKOUT = Path(__file__).parents[2]
POINTS = ["in a step", "in the middle of a save", "before old checkpoints go", "before the facts",
          "before the manifest"]  # fmt: skip
SAME = ("weights", "moments", "batches", "fingerprint", "steps", "losses", "validation", "samples",
        "files")  # fmt: skip
FAMILIES = {"bert": "in the middle of a save", "t5": "in a step"}


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
    others = [f"{name}/{point}" for name, at in FAMILIES.items() for point in (UNDISTURBED, at)]
    return drive(tmp_path_factory.mktemp("kills"), [UNDISTURBED, *POINTS, *others])


def assert_the_same(killed: dict[str, Any], undisturbed: dict[str, Any]) -> None:
    """Both ended well, the one after a SIGKILL, and nothing of what they made differs."""
    assert killed["first"] == -signal.SIGKILL and undisturbed["first"] == 0
    assert killed["second"] == 0
    for same in SAME:
        assert killed[same] == undisturbed[same], same
    # One batch per step, in the same order: what a step was given twice, it was given alike.
    assert [step for step, _ in killed["batches"]] == list(range(1, 13))


@pytest.mark.parametrize("point", POINTS)
def test_killed_run_ends_like_an_undisturbed_one(runs: dict[str, Any], point: str) -> None:
    assert_the_same(runs[point], runs[UNDISTURBED])


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_run_of_another_objective_ends_like_an_undisturbed_one(
    runs: dict[str, Any], family: str
) -> None:
    killed, undisturbed = runs[f"{family}/{FAMILIES[family]}"], runs[f"{family}/{UNDISTURBED}"]
    assert_the_same(killed, undisturbed)
    assert undisturbed["weights"] != runs[UNDISTURBED]["weights"]
    assert killed["resumed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_moment_and_ten_random_ones_leave_another_objective_the_same(
    tmp_path: Path, runs: dict[str, Any], family: str
) -> None:
    moments = [*POINTS, *(f"random:{i}" for i in range(10))]
    results = drive(tmp_path, [f"{family}/{moment}" for moment in moments])
    undisturbed = runs[f"{family}/{UNDISTURBED}"]
    for result in results.values():
        assert {name: result[name] for name in SAME} == {name: undisturbed[name] for name in SAME}
    assert sum(r["first"] == -signal.SIGKILL for r in results.values()) >= len(POINTS) + 2


def test_killed_run_goes_on_from_its_checkpoint(runs: dict[str, Any]) -> None:
    assert runs["in a step"]["resumed"] == 1
    assert runs[UNDISTURBED]["resumed"] == 0


def test_records_have_every_step_once(runs: dict[str, Any]) -> None:
    assert runs["in the middle of a save"]["steps"] == list(range(1, 13))
    assert runs["in the middle of a save"]["samples"] == ["untrained", "end"]


def test_sealed_artifact_holds_no_checkpoint_and_no_path_of_this_machine(
    runs: dict[str, Any],
) -> None:
    assert runs["in a step"]["files"] == [
        "curve.jsonl", "facts.json", "final/model.json", "final/model.safetensors",
        "manifest.json", "samples.jsonl",
    ]  # fmt: skip


@pytest.mark.slow
def test_twenty_random_moments_leave_the_same_weights(tmp_path: Path, runs: dict[str, Any]) -> None:
    points = [f"random:{i}" for i in range(20)]
    results = drive(tmp_path, points)
    assert {r["weights"] for r in results.values()} == {runs[UNDISTURBED]["weights"]}
    assert sum(r["first"] == -signal.SIGKILL for r in results.values()) >= 5
