"""Clusters, coverage and the most diverse k, on points whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conversations.diversity import (
    clusters,
    covering_radius,
    k_centre,
    plane,
    unit,
)


def blobs(sizes: list[int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(len(sizes), 6)
    return np.concatenate(
        [centre + 0.1 * rng.normal(size=(n, 6)) for centre, n in zip(centres, sizes, strict=True)]
    )


def test_clusters_find_separate_groups_of_any_size():
    found = clusters(unit(blobs([50, 30, 5])), 3, seed=0)
    assert found.sizes.tolist() == [50, 30, 5]
    assert len(set(found.label[:50])) == len(set(found.label[50:80])) == 1


def test_effective_clusters_are_k_when_equal_and_one_when_all_is_one():
    assert clusters(unit(blobs([20, 20, 20])), 3, seed=0).effective == pytest.approx(3)
    same = np.ones((40, 4), np.float32)
    assert clusters(unit(same), 5, seed=0).effective == pytest.approx(1)


def test_k_centre_takes_one_of_each_group_before_a_second_of_any():
    points = unit(blobs([100, 3, 1]))
    groups = np.repeat([0, 1, 2], [100, 3, 1])
    assert set(groups[k_centre(points, 3)]) == {0, 1, 2}


def test_copies_of_one_example_are_chosen_last():
    points = unit(np.concatenate([np.tile(blobs([1, 0, 0]), (10, 1)), blobs([0, 2, 2])]))
    assert sorted(k_centre(points, 5))[1:] == [10, 11, 12, 13]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 999))
def test_greedy_covers_within_twice_the_best_radius_of_any_choice_we_try(count, k, seed):
    rng = np.random.default_rng(seed)
    points = unit(rng.normal(size=(count, 3)))
    chosen = k_centre(points, k)
    assert len(set(chosen.tolist())) == min(k, count)
    radius = covering_radius(points, chosen)
    for _ in range(5):
        other = rng.choice(count, size=min(k, count), replace=False)
        assert radius <= 2 * covering_radius(points, other) + 1e-3


def test_the_map_keeps_what_lies_in_a_plane():
    rng = np.random.default_rng(1)
    flat = np.zeros((30, 5))
    flat[:, 1], flat[:, 3] = rng.normal(size=30), 3 * rng.normal(size=30)
    points = (flat - flat.mean(axis=0)).astype(np.float32)
    shown = plane(points)
    ours = np.linalg.norm(shown[:, None] - shown[None], axis=-1)
    true = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert np.allclose(ours, true, atol=1e-4)


def test_one_example_and_one_dimension_are_no_trouble():
    one = unit(np.ones((1, 3)))
    assert clusters(one, 4, seed=0).sizes.tolist() == [1]
    assert k_centre(one, 9).tolist() == [0]
    assert plane(unit(np.arange(4.0)[:, None])).shape == (4, 2)
