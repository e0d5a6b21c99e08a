"""The loss curve of a tiny run, committed: a refactor reproduces it, a real change says why.

The lines are `step loss` of 40 steps on the Zen of Python, float32, one thread. The same machine
and torch give them to the last digit; other CPUs order their sums differently, hence a tolerance.
Rewrite with `python -m tests.training.test_golden`.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.stages.pretrain import pretrain
from pipeline.training.config import Steps
from pipeline.training.records import read_records
from tests.training.worlds import CONFIG, RUNTIME, zen_world

GOLDEN = Path(__file__).with_name("golden_curve.txt")
TOLERANCE = 1e-4  # nats; 40 steps of float32 rounding, another kernel for every product


def measured(root: Path) -> list[tuple[int, float]]:
    tokenizer, shards = zen_world(root)
    config = replace(CONFIG, horizon=Steps(40), prompts=())
    checkpoint = pretrain(config, shards, tokenizer, root=root, runtime=RUNTIME)
    records = read_records(checkpoint.path / "curve.jsonl")
    return [(r["step"], r["train_loss"]) for r in records if "train_loss" in r]


def test_loss_curve_is_the_golden_one(tmp_path):
    golden = [line.split() for line in GOLDEN.read_text().splitlines()]
    curve = measured(tmp_path)
    assert [step for step, _ in curve] == [int(step) for step, _ in golden]
    assert [loss for _, loss in curve] == pytest.approx(
        [float(loss) for _, loss in golden], abs=TOLERANCE
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{step} {loss:.9f}\n" for step, loss in measured(Path(folder))]
    GOLDEN.write_text("".join(lines))
