"""What a plan learns from earlier runs."""

from pathlib import Path

from flows.plan import Prediction, StagePrediction, Workload, learned_rates, predicted_rows
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


def test_minutes_of_a_size_chosen_later_are_the_time_of_pretraining(tmp_path):
    built = StageRecord("pretrain", "pretrain", "build", 0.0, "")
    load = Workload(1e6, 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 1, minutes=2.0)
    (row,) = predicted_rows([built], load, tmp_path)
    assert row.seconds == 120 and row.note == "size chosen when it starts"
