import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.errors import ConfigError
from pipeline.tokens.order import BLOCK, SampleOrder, sample_ids


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4096, 4097, 70_001])
def test_order_is_a_permutation(n):
    assert np.array_equal(np.sort(sample_ids(7, 2, n, 0, n)), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 99), data=st.data())
def test_any_stretch_equals_that_part_of_the_whole(n, seed, epoch, data):
    start = data.draw(st.integers(0, n))
    count = data.draw(st.integers(0, n - start))
    whole = sample_ids(seed, epoch, n, 0, n)
    assert np.array_equal(np.sort(whole), np.arange(n))
    assert np.array_equal(sample_ids(seed, epoch, n, start, count), whole[start : start + count])


def test_order_of_a_huge_set_needs_no_memory():
    ids = sample_ids(0, 0, 10**15, 10**14, 1000)
    assert len(np.unique(ids)) == 1000
    assert ids.min() >= 0
    assert ids.max() < 10**15


def test_epochs_and_seeds_differ_and_look_shuffled():
    a, b, c = (sample_ids(s, e, 10_000, 0, 10_000) for s, e in ((0, 0), (0, 1), (1, 0)))
    for x, y in ((a, b), (a, c), (a, np.arange(10_000))):
        assert np.count_nonzero(x == y) < 20
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.05


def test_endless_order_crosses_blocks_and_epochs():
    n = BLOCK + 100
    order = SampleOrder(5, n)
    wanted = np.concatenate([sample_ids(5, e, n, 0, n) for e in (0, 1)])
    got = [order.ids(start, 999) for start in range(0, 2 * n - 999, 999)]
    assert np.array_equal(np.concatenate(got), wanted[: 999 * len(got)])
    assert np.array_equal(SampleOrder(5, 3).ids(1, 8), SampleOrder(5, 3).ids(0, 9)[1:])


def test_positions_outside_the_epoch_are_refused():
    with pytest.raises(ConfigError, match="outside 0 to 10"):
        sample_ids(0, 0, 10, 5, 6)
