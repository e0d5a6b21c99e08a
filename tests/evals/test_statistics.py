"""Intervals that can be checked by counting."""

import numpy as np
import pytest

from pipeline.evals.statistics import bits_per_byte, bootstrap_ratio, bootstrap_weights


def test_bits_per_byte_of_one_bit_per_byte():
    assert bits_per_byte(np.log(2) * 10, 10) == pytest.approx(1.0)


def test_each_resample_has_as_many_documents_as_there_are():
    weights = bootstrap_weights(13, 50, seed=1)
    assert weights.shape == (50, 13) and (weights.sum(axis=1) == 13).all()
    assert (weights == bootstrap_weights(13, 50, seed=1)).all()


def test_ratio_interval_resamples_numerator_and_denominator_together():
    sizes = np.array([1.0, 100.0, 10_000.0])
    interval = bootstrap_ratio(2 * sizes, sizes, draws=200, seed=0)
    assert (interval.low, interval.high) == (2.0, 2.0)


def test_ratio_interval_equals_the_matrix_form():
    rng = np.random.default_rng(0)
    nats, sizes = rng.uniform(1, 2, 40), rng.uniform(1, 9, 40)
    weights = bootstrap_weights(40, 300, seed=2)
    low, high = np.percentile((weights @ nats) / (weights @ sizes), [2.5, 97.5])
    interval = bootstrap_ratio(nats, sizes, draws=300, seed=2)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Of 200 samples with mean ratio 1, the 95 % interval holds 1 in 88 to 99 % (60 documents)."""
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        nats = rng.normal(1.0, 0.3, 60)
        interval = bootstrap_ratio(nats, np.ones(60), draws=200, seed=trial)
        hits += interval.low <= 1.0 <= interval.high
    assert 176 <= hits <= 198
