"""Pretraining text between the examples: its share, its masks, and what it is not."""

import numpy as np
import pytest

from pipeline.conversations.example import Example
from pipeline.conversations.packing import write_rows
from pipeline.conversations.replay import Replay
from pipeline.store.errors import ConfigError
from pipeline.tokens.batches import PackedRows, WindowBatches
from pipeline.tokens.shards import shard_paths
from pipeline.tokens.tokenizer import Tokenizer
from tests.training.worlds import zen_world

EXAMPLES = [Example(id=str(i), prompt=f"question {i}?", answer="yes") for i in range(40)]
T = 32


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    tokenizer, shards = zen_world(tmp_path_factory.mktemp("replay"))
    return Tokenizer.load(tokenizer.path), shard_paths(shards, "train")


def write(world, path, share: float):
    tokenizer, paths = world
    replay = Replay(paths, share, seed=3)
    return write_rows(EXAMPLES, tokenizer, path, context_length=T, replay=replay)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_is_of_trained_tokens(world, tmp_path, share):
    facts = write(world, tmp_path / "rows.arrow", share)
    assert facts["replay_tokens"] == round(facts["target_tokens"] * share / (1 - share))
    assert facts["rows"] > facts["replay_rows"] > 0


def test_replayed_rows_are_the_windows_of_pretraining(world, tmp_path):
    facts = write(world, tmp_path / "rows.arrow", 0.5)
    rows = PackedRows(tmp_path / "rows.arrow", rows=1)
    windows = WindowBatches(world[1], context_length=T, rows=1, seed=3)
    packed = [{name: values.copy() for name, values in batch.items()} for batch in rows.in_order()][
        -facts["replay_rows"] :
    ]
    for step, row in enumerate(packed):
        window = windows.batch(step)
        for name in ("inputs", "targets", "segment_ids", "positions"):
            assert np.array_equal(row[name], window[name]), name
        trained, whole = row["loss_mask"], window["loss_mask"]
        if step == len(packed) - 1:  # only as many of the last row as the share asks for
            whole = whole * (np.cumsum(whole) <= trained.sum())
            assert 0 < trained.sum() < window["loss_mask"].sum()
        assert np.array_equal(trained, whole)


def test_without_replay_the_file_is_the_same_as_before(world, tmp_path):
    tokenizer, _ = world
    write_rows(EXAMPLES, tokenizer, tmp_path / "plain.arrow", context_length=T)
    write(world, tmp_path / "zero.arrow", 0.0)
    assert (tmp_path / "plain.arrow").read_bytes() == (tmp_path / "zero.arrow").read_bytes()


def test_too_little_text_is_an_error_with_the_numbers(world, tmp_path):
    with pytest.raises(ConfigError, match=r"finetune.replay=0.99999 asks for \d+ tokens"):
        write(world, tmp_path / "rows.arrow", 0.99999)
