"""Loss spikes: a step whose loss is far above those before it is skipped like a non-finite one.

    limit = median + max(deviations * 1.4826 * MAD, SMALLEST_RISE)    of the last `window` losses

1.4826 makes the median absolute deviation (MAD) a normal distribution's standard deviation.
Nothing is skipped before the window is full. A skipped loss does not enter it: one spike cannot
hide the next, and a loss that stays up ends the run (`max_skipped_in_row`). All of it stays on the
device; its state is the window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from model.settings import FORBID_EXTRA, check, setting

_NORMAL = 1.4826  # 1 / the 75 % quantile of the standard normal distribution
SMALLEST_RISE = 0.1  # nats; guess: a window of nearly equal losses must not skip ordinary noise


@dataclass(frozen=True)
class SpikeRule:
    """Skip steps whose loss is above the median of the last ones by many deviations."""

    deviations: float = setting(
        6.0, "Robust standard deviations (1.4826 MAD) above the median.", gt=0.0, le=1000.0
    )
    window: int = setting(128, "Losses that are looked back at.", ge=8, le=10_000)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


class SpikeWatch:
    """The last losses, and the limit that follows from them."""

    def __init__(
        self, rule: SpikeRule, device: torch.device, *, losses: Sequence[float] = ()
    ) -> None:
        """`losses` are those of an earlier `state()`, oldest first."""
        self.rule = rule
        empty = [math.nan] * (rule.window - len(losses))
        self.losses = torch.tensor([*empty, *losses], dtype=torch.float64, device=device)

    def limit(self) -> Tensor:
        """() float64: a loss above it is a spike; infinite until the window is full."""
        median = self.losses.median()  # NaN as long as a place is empty
        deviation = (self.losses - median).abs().median() * _NORMAL
        rise = (self.rule.deviations * deviation).clamp_min(SMALLEST_RISE)
        return torch.nan_to_num(median + rise, nan=math.inf)

    def note(self, loss: Tensor, applied: Tensor) -> None:
        """Take the loss of a step that was applied into the window; forget the oldest."""
        moved = torch.cat((self.losses[1:], loss.double().reshape(1)))
        self.losses = torch.where(applied, moved, self.losses)

    def state(self) -> list[float]:
        """The losses, oldest first; reading them waits for the device."""
        return [loss for loss in self.losses.tolist() if not math.isnan(loss)]
