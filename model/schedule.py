"""Learning-rate schedules: pure functions of the step, so that resuming needs no state.

1 |   ______________          wsd          Steps are numbered from 0. `factor(step, total_steps)`
  |  /    cosine.   \\                      multiplies every learning rate of the optimiser.
  | /            '.  \\                     Warm-up reaches 1 at its last step; the decay would
0 |/_______________'._\\ total_steps        reach `final_fraction` at step `total_steps`, so the
                                           last step still learns.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from model.settings import FORBID_EXTRA, check, setting, settings_from_dict

_WARMUP = "Fraction of all steps in which the rate rises linearly."
_FINAL = "Where the decay ends, as a fraction of the full rate."


class _Schedule(ABC):
    """Shared by the schedules: linear warm-up, then the decay each one defines."""

    warmup_fraction: float
    final_fraction: float

    def factor(self, step: int, total_steps: int) -> float:
        """The multiplier of the learning rates at `step`; beyond `total_steps` it stays."""
        if total_steps < 1 or step < 0:
            raise ValueError(f"step={step} of total_steps={total_steps}: both must be positive")
        warmup_steps = math.ceil(self.warmup_fraction * total_steps)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)  # 0 to 1 after warm-up
        return self.final_fraction + (1.0 - self.final_fraction) * self._remaining(min(1.0, done))

    @abstractmethod
    def _remaining(self, done: float) -> float:
        """From 1 at `done=0` to 0 at `done=1`."""


@dataclass(frozen=True)
class CosineSchedule(_Schedule):
    """Warm-up, then half a cosine (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_fraction: float = setting(0.02, _WARMUP, ge=0.0, le=1.0)
    final_fraction: float = setting(0.1, _FINAL, ge=0.0, le=1.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)

    def _remaining(self, done: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class WarmupStableDecaySchedule(_Schedule):
    """Warm-up, a plateau, then linear decay over the last part (Hu et al. 2024, MiniCPM)."""

    kind: Literal["wsd"] = "wsd"
    warmup_fraction: float = setting(0.02, _WARMUP, ge=0.0, le=1.0)
    decay_fraction: float = setting(
        0.5, "Fraction of the steps after warm-up in which the rate decays.", gt=0.0, le=1.0
    )
    final_fraction: float = setting(0.0, _FINAL, ge=0.0, le=1.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)

    def _remaining(self, done: float) -> float:
        return min(1.0, (1.0 - done) / self.decay_fraction)


@dataclass(frozen=True)
class LinearSchedule(_Schedule):
    """Warm-up, then a straight line down."""

    kind: Literal["linear"] = "linear"
    warmup_fraction: float = setting(0.02, _WARMUP, ge=0.0, le=1.0)
    final_fraction: float = setting(0.0, _FINAL, ge=0.0, le=1.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)

    def _remaining(self, done: float) -> float:
        return 1.0 - done


AnySchedule = CosineSchedule | WarmupStableDecaySchedule | LinearSchedule


def schedule_from_dict(values: dict[str, Any]) -> AnySchedule:
    """The schedule whose `kind` and settings are `values`; ValueError for unknown ones."""
    kinds = (CosineSchedule, WarmupStableDecaySchedule, LinearSchedule)
    schedule: AnySchedule = settings_from_dict(kinds, values)
    return schedule
