"""Position curve and calibration against counts made one token at a time."""

import math

import numpy as np
import pytest

from pipeline.evals.perplexity import score_documents
from pipeline.evals.token_tally import BINS, TokenTally


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error():
    tally = TokenTally()
    hits = np.arange(1000) % 4 == 0
    tally.add(np.ones(1000, np.int64), np.ones(1000), np.full(1000, 0.25, np.float32), hits)
    found = tally.calibration()
    assert found["ece"] == pytest.approx(0, abs=1e-6)
    assert found["accuracy"] == 0.25 and found["tokens"] == 1000


def test_expected_calibration_error_by_hand():
    tally = TokenTally()
    # Three tokens at 0.9, one right; one token at 0.1, right: (3/4)|0.9 - 1/3| + (1/4)|0.1 - 1|
    sure = np.array([0.9, 0.9, 0.9, 0.1], np.float32)
    tally.add(np.arange(1, 5), np.ones(4), sure, np.array([True, False, False, True]))
    found = tally.calibration()
    assert found["ece"] == pytest.approx(0.75 * abs(0.9 - 1 / 3) + 0.25 * 0.9)
    assert [row["tokens"] for row in found["bins"]] == [1, 3]


def test_full_confidence_falls_into_the_last_bin():
    tally = TokenTally()
    one = np.array([1.0, 1.0000001], np.float32)
    tally.add(np.array([1, 1]), np.zeros(2), one, np.array([True, True]))
    (row,) = tally.calibration()["bins"]
    assert row["low"] == (BINS - 1) / BINS and row["accuracy"] == 1


def test_positions_fall_into_ranges_that_double():
    tally = TokenTally()
    positions = np.arange(1, 10)
    tally.add(positions, positions.astype(float), np.zeros(9, np.float32), np.zeros(9, bool))
    rows = tally.position_curve()
    assert [(row["first"], row["last"]) for row in rows] == [
        (1, 1),
        (2, 2),
        (3, 4),
        (5, 8),
        (9, 16),
    ]
    assert [row["tokens"] for row in rows] == [1, 1, 2, 4, 1]
    assert rows[2]["nats_per_token"] == 3.5 and rows[3]["nats_per_token"] == 6.5


def test_both_curves_count_every_token_of_the_text_and_no_end(model, tokenizer):
    texts = ["a", "", "seventeen letters", "x" * 40]
    documents = {"doc_id": list("abcd"), "text": texts, "source": ["s"] * 4}
    scores = score_documents(model, tokenizer, documents, context=16, stride=8)
    curve, calibration = scores.tally.position_curve(), scores.tally.calibration()
    assert sum(row["tokens"] for row in curve) == calibration["tokens"] == scores.tokens.sum()
    nats = math.fsum(row["nats_per_token"] * row["tokens"] for row in curve)
    assert nats == pytest.approx(math.fsum(scores.nats))
    assert curve[0]["tokens"] == 3 and curve[-1]["first"] == 33 and curve[-1]["tokens"] == 8
