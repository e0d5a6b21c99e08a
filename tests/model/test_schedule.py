"""The learning rate at the corners of every schedule."""

from itertools import pairwise

import pytest

from model.schedule import (
    CosineSchedule,
    LinearSchedule,
    WarmupStableDecaySchedule,
    schedule_from_dict,
)
from model.settings import settings_to_dict

ALL = [
    CosineSchedule(warmup_fraction=0.1, final_fraction=0.2),
    WarmupStableDecaySchedule(warmup_fraction=0.1, decay_fraction=0.5, final_fraction=0.2),
    LinearSchedule(warmup_fraction=0.1, final_fraction=0.2),
]


@pytest.mark.parametrize("schedule", ALL)
def test_corners(schedule):
    factors = [schedule.factor(step, 100) for step in range(103)]
    assert factors[0] == pytest.approx(0.1)  # the first step already learns
    assert factors[9] == factors[10] == 1.0  # warm-up reaches the top at its last step
    assert factors[99] > 0.2
    assert factors[100] == factors[102] == pytest.approx(0.2)
    assert all(a <= b for a, b in pairwise(factors[:10]))
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_cosine_is_halfway_in_the_middle():
    schedule = CosineSchedule(warmup_fraction=0.0, final_fraction=0.0)
    assert schedule.factor(50, 100) == pytest.approx(0.5)


def test_stable_phase_is_flat_until_the_decay():
    schedule = WarmupStableDecaySchedule(warmup_fraction=0.0, decay_fraction=0.25)
    assert {schedule.factor(step, 100) for step in range(76)} == {1.0}
    assert schedule.factor(88, 100) == pytest.approx(0.48)


@pytest.mark.parametrize("schedule", ALL)
def test_one_step_is_enough(schedule):
    assert schedule.factor(0, 1) == 1.0


@pytest.mark.parametrize("schedule", ALL)
def test_survives_json(schedule):
    assert schedule_from_dict(settings_to_dict(schedule)) == schedule


def test_limits_are_named():
    with pytest.raises(ValueError, match=r"warmup_fraction=1.5 must be at most 1.0"):
        CosineSchedule(warmup_fraction=1.5)
    with pytest.raises(ValueError, match="total_steps=0"):
        CosineSchedule().factor(0, 0)
