"""The cheapest signs of a wrong mask: samples that do not stop, run long, or repeat themselves."""

import pytest

from pipeline.training.sampling import repeated_share, sample_metrics


@pytest.mark.parametrize(
    "ids, share",
    [
        ([], 0.0),
        ([1, 2, 3], 0.0),
        (list(range(20)), 0.0),
        ([7] * 104, 0.9901),
        ([1, 2, 3, 4] * 2, 0.2),
    ],
)
def test_repeated_share_of_four_grams(ids, share):
    assert repeated_share(ids) == pytest.approx(share, abs=1e-4)


def test_metrics_are_means_over_the_samples():
    records = [
        {"stopped": True, "tokens": 4, "repeated": 0.0},
        {"stopped": False, "tokens": 48, "repeated": 0.9},
    ]
    assert sample_metrics(records) == {
        "samples/stopped_rate": 0.5,
        "samples/tokens": 26.0,
        "samples/repeated_4grams": 0.45,
    }
    assert sample_metrics([]) == {}
