"""The smaller deployments, each as a flow against a real server on a copy of a finished root."""

import json
import shutil
from pathlib import Path

import pytest
from prefect.states import State

from flows.corpus import corpus
from flows.display import Display
from flows.evaluation import evaluation
from flows.fine_tuning import fine_tuning
from flows.housekeeping import housekeeping
from flows.run import Call, called_with
from flows.settings import HousekeepingSettings
from pipeline.artifacts import finished_artifacts
from tests.flows.conftest import small_settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]


@pytest.fixture
def root(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "root")
    return tmp_path / "root"


def ended(flow: object, **parameters: object) -> State:
    """The final state of one call of a flow."""
    with called_with(Call(Display(quiet=True))):
        return flow(**parameters, return_state=True)  # type: ignore[operator]


def outcomes(root: Path) -> dict[str, str]:
    """What the newest run did, by stage."""
    newest = max((root / "journal").glob("2*/stages.json"), key=lambda path: path.stat().st_mtime)
    return {row["title"]: row["outcome"] for row in json.loads(newest.read_text())}


def test_fine_tuning_starts_from_the_base_champion_and_asks_the_gate(root: Path) -> None:
    settings = small_settings(root)
    settings["finetune"]["seed"] = 11
    before = {a.ref for a in finished_artifacts(root)}
    state = ended(fine_tuning, config=settings)
    assert state.is_completed(), state.message
    assert state.message is not None and state.message.startswith("small version 2")
    did = outcomes(root)
    assert "pretrain" not in did and "clean" not in did
    assert (did["finetune"], did["evaluate-base"], did["export-tuned"]) == (
        "built", "reused", "built",
    )  # fmt: skip
    made = {a.stage: a for a in finished_artifacts(root) if a.ref not in before}
    (base,) = (root / "pretrain").iterdir()
    assert f"pretrain@{base.name}" in made["finetune"].manifest.inputs
    again = ended(fine_tuning, config=settings)  # the same night twice makes no second version
    assert again.message is not None and again.message.startswith("small version 2")


def test_fine_tuning_without_a_champion_says_what_to_run_first(tmp_path: Path) -> None:
    state = ended(fine_tuning, config=small_settings(tmp_path / "empty"))
    assert state.is_failed() and state.message is not None
    assert "no champion of small-base" in state.message and "run language-model" in state.message


def test_evaluation_scores_again_and_trains_nothing(root: Path) -> None:
    settings = small_settings(root)
    settings["evaluate"]["questions_per_kind"] = 1
    trained = {path.name for stage in ("pretrain", "finetune") for path in (root / stage).iterdir()}
    state = ended(evaluation, config=settings)
    assert state.is_completed(), state.message
    did = outcomes(root)
    assert (did["evaluate-tuned"], did["export-tuned"], did["finetune"]) == (
        "built", "built", "reused",
    )  # fmt: skip
    assert trained == {
        path.name for stage in ("pretrain", "finetune") for path in (root / stage).iterdir()
    }
    assert list((root / "reports").glob("*/report.html"))


def test_evaluation_of_what_is_not_trained_is_refused(root: Path) -> None:
    settings = small_settings(root)
    settings["pretrain"]["seed"] = 99
    state = ended(evaluation, config=settings)
    assert state.is_failed() and state.message is not None and "is not built" in state.message
    assert len(list((root / "pretrain").iterdir())) == 1


def test_corpus_refresh_ends_with_shards_that_later_runs_reuse(root: Path) -> None:
    settings = small_settings(root)
    settings["tokenize"]["validation_fraction"] = 0.1
    assert ended(corpus, config=settings).is_completed()
    assert outcomes(root) == {
        "eval_set": "reused", "clean": "reused", "tokenizer": "reused", "tokenize": "built",
    }  # fmt: skip


def test_housekeeping_removes_what_a_killed_run_left_and_tells_the_disk(root: Path) -> None:
    half = root / "pretrain" / "0123456789ab"
    (half / "checkpoints").mkdir(parents=True)
    (root / "journal" / "x.tmp-1").write_text("half")
    nothing = HousekeepingSettings(orphan_hours=0, unfinished_days=0, dry_run=True)
    told = ended(housekeeping, root=str(root), settings=nothing)
    assert told.is_completed() and str(told.message).startswith("would remove 2 things")
    assert half.exists()
    now = HousekeepingSettings(orphan_hours=0, unfinished_days=0)
    assert str(ended(housekeeping, root=str(root), settings=now).message).startswith("removed 2")
    assert not half.exists() and not (root / "journal" / "x.tmp-1").exists()
    assert len(finished_artifacts(root)) == 12
