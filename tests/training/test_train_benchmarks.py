"""The training benchmarks: who is compared with what, on which ids, and when a claim is met."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import train_cpu, train_gpu
from benchmarks.peer_sources import SHAKESPEARE, checked
from benchmarks.results_file import Measured
from benchmarks.train_arms import TINY, Arm, our_adamw, our_best
from benchmarks.train_curves import batches, evaluate
from benchmarks.train_documentation import documents_drawn
from benchmarks.train_loss import character_ids
from pipeline.store.errors import ConfigError

HERE = Measured("0" * 40, "a machine", {})


def timings(ours: float) -> train_cpu.Times:
    named = (*train_cpu.PEERS, train_cpu.COMPILED, "ours-tanh", train_cpu.BEST)
    times = {(name, dtype): [1.0] * 3 for name in named for dtype in train_cpu.DTYPES}
    times |= {(train_cpu.OURS, dtype): [ours] * 3 for dtype in train_cpu.DTYPES}
    return times | {(train_cpu.AS_SHIPPED, "float32"): [3.0] * 3}


def test_a_claim_is_met_at_its_target_and_missed_below():
    fast = train_cpu.conclude(timings(0.8), [1.0], TINY, HERE)
    slow = train_cpu.conclude(timings(0.95), [2.1], TINY, HERE)
    assert [claim.met for claim in fast.claims] == [True] * 4
    assert [claim.met for claim in slow.claims] == [False] * 4
    assert fast.claims[2].value == pytest.approx(3.75)


def test_a_claim_compares_within_rounds():
    times = timings(1.0)
    times[train_cpu.OURS, "bfloat16"] = [1.0, 3.0, 1.0]  # the machine was busy in the second
    times["nanogpt", "bfloat16"] = [1.3, 3.9, 1.3]
    times["litgpt", "bfloat16"] = times["huggingface", "bfloat16"] = [9.0] * 3
    claims = train_cpu.conclude(times, [1.0], TINY, HERE).claims
    assert claims[0].value == pytest.approx(1.3)


def test_gpu_rates_become_shares_of_the_peak():
    seconds = {name: [1e-3] * 3 for name in ("ours", "ours-best", *train_gpu.PEERS)}
    losses = [(60.0, {"ours": 2.0, "nanogpt": 3.0, "simple": 1.9})]
    result = train_gpu.conclude(seconds, 1.0, losses, train_gpu.SMALL, HERE)
    share = next(row for row in result.rows if row.unit == "%").ours[0]
    flops = 6 * (2 * 12 * 64**2 + 128 * 64) + 12 * 2 * 64 * 32  # per token, see flops_per_token
    assert share == pytest.approx(100 * train_gpu.SMALL.tokens / 1e-3 * flops / 989e12)
    assert result.claims[-1].met is False


@pytest.mark.parametrize("build", [our_adamw, our_best])
def test_our_arms_learn_a_repeated_batch(build):
    torch.manual_seed(0)
    arm = build(TINY, "float32")
    ids = torch.randint(TINY.vocab_size, (TINY.rows, TINY.context_length + 1))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    before = arm.nats(inputs, targets)
    first = arm.step(inputs, targets)
    assert first == pytest.approx(before, abs=1e-5)
    for _ in range(15):
        arm.step(inputs, targets)
    assert arm.nats(inputs, targets) < before - 0.5


def test_windows_in_order_train_each_id_once_per_epoch():
    shape = replace(TINY, rows=2, context_length=8)
    ids = torch.arange(8 * 2 * 5 + 8)
    rows = batches(ids, shape, seed=3, in_order=True)
    seen = torch.cat([next(rows)[1].flatten() for _ in range(5)])
    assert len(seen.unique()) == len(seen) == 80


def test_evaluation_counts_every_id_but_the_first():
    told = Arm(lambda x, y: 0.0, lambda x, y: float(y.float().mean()), lambda f: None, 0)
    ids = torch.arange(1, 60)
    assert evaluate(told, ids, replace(TINY, context_length=16)) == pytest.approx(
        float(ids[1:].float().mean())
    )


def test_unique_text_is_whole_documents_of_all_sources_in_random_order():
    bos = 99
    documents = [[bos, *[i] * (i + 1)] for i in range(20)]
    ids = np.array(sum(documents, []))
    drawn = documents_drawn(ids, 120)
    assert len(drawn) == 120 and drawn[0] == bos
    pieces = [piece.tolist() for piece in np.split(drawn, np.flatnonzero(drawn == bos))[1:]]
    assert all(piece in documents for piece in pieces[:-1])
    order = [piece[1] for piece in pieces[:-1]]
    assert order != sorted(order) and len(set(order)) == len(order)
    assert np.array_equal(drawn, documents_drawn(ids, 120))
    assert sorted(documents_drawn(ids, len(ids))) == sorted(ids)


def test_shakespeare_is_split_and_numbered_as_nanogpt_does(tmp_path):
    text = tmp_path / "input.txt"
    text.write_text("banana cab" * 3, encoding="utf-8")
    found = np.load(character_ids(text, tmp_path))
    assert found["train"][:7].tolist() == [2, 1, 4, 1, 4, 1, 0]  # " abcn"
    assert (len(found["train"]), len(found["validation"])) == (27, 3)


def test_another_text_than_the_named_one_is_refused(tmp_path):
    file = tmp_path / "input.txt"
    with pytest.raises(ConfigError, match="git clone"):
        checked(file, SHAKESPEARE)
    file.write_text("other", encoding="utf-8")
    with pytest.raises(ConfigError, match=hashlib.sha256(b"other").hexdigest()[:12]):
        checked(file, SHAKESPEARE)
