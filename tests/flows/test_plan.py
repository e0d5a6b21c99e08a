"""What a plan learns from earlier runs."""

from pathlib import Path

from flows.plan import Prediction, StagePrediction, learned_rates
from flows.run import StageRecord


def prediction(root: Path) -> Prediction:
    row = StagePrediction("pretrain", "pretrain", "build", 50.0, 0, 0, 10.0, "TFLOP")
    return Prediction(root, (row,), 1e9, 1e9, None)


def record(root: Path, run: str, *, resumed: bool) -> None:
    outcome = StageRecord("pretrain", "pretrain", "built", 40.0, "pretrain@0", resumed)
    prediction(root).record([outcome], root / "journal" / run / "plan.json")


def test_rate_is_learned_from_a_whole_stage(tmp_path):
    record(tmp_path, "1", resumed=False)
    assert learned_rates(tmp_path) == {("pretrain", "TFLOP"): 4.0}


def test_resumed_stage_teaches_no_rate_because_this_run_saw_only_the_rest_of_it(tmp_path):
    record(tmp_path, "1", resumed=True)
    assert learned_rates(tmp_path) == {}
