"""lm-evaluation-harness, offline and without our code, gives our figures for our exported model."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.evaluate import AGREEMENT, BATCHES, FIGURES, exported, run_ours, run_peer
from benchmarks.peer_environment import environment

pytestmark = [pytest.mark.consumer, pytest.mark.timeout(1500)]

# Short and long, many windows of any small context, white space at both ends, other scripts.
TEXTS = [
    "a", "  Return the path of the file.\n", "words and more words, " * 150,
    "猫坐在垫子上。" * 40, "def read(path):\n\treturn open(path).read()\n" * 30, "é" * 333,
]  # fmt: skip


@pytest.fixture(scope="module")
def harness(tmp_path_factory) -> Path:
    """An interpreter with the harness; in the folder GRISTMILL_PEERS names, if it is set."""
    kept = os.environ.get("GRISTMILL_PEERS")
    return environment(Path(kept) if kept else tmp_path_factory.mktemp("peers"), "lm-eval")


def test_bits_per_byte_equal_the_harness_at_every_batch_size(small_run, harness, tmp_path):
    lines = (json.dumps({"text": text}) for text in TEXTS)
    (tmp_path / "documents.jsonl").write_text("\n".join(lines) + "\n")
    model = exported(small_run)
    ours = run_ours(model, tmp_path)
    for batch in BATCHES:
        theirs = run_peer(model, tmp_path, harness, batch)
        for name in FIGURES:
            assert ours.figures[name] == pytest.approx(theirs.figures[name], rel=AGREEMENT)
