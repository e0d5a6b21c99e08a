"""Rotary positions (Su et al. 2021) in the half-split form of Llama, so that export is a rename.

K head width. Column j of the first half and column j of the second half form a pair that is turned
by the angle position * theta^(-2j/K).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class Llama3RopeScaling:
    """Llama 3.1's stretching of the slow frequencies for contexts beyond the first training's."""

    factor: float = setting(32.0, "How much the slowest frequencies are slowed.", gt=0.0)
    low_freq_factor: float = setting(1.0, "Below this many turns: slowed in full.", gt=0.0)
    high_freq_factor: float = setting(4.0, "Above this many turns: left alone.", gt=0.0)
    original_context_length: int = setting(8192, "Context of the first training.", ge=1)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"Llama3RopeScaling.high_freq_factor={self.high_freq_factor} must be greater than "
                f"low_freq_factor={self.low_freq_factor}"
            )


@dataclass(frozen=True)
class Rotation:
    """Cosine and signed sine for given positions: (T, 1, K) or (B, T, 1, K)."""

    cos: Tensor
    sin: Tensor


def inverse_frequencies(
    head_width: int, theta: float, scaling: Llama3RopeScaling | None = None
) -> Tensor:
    """(K/2,) float32 angles per position."""
    exponent = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = 1.0 / (theta**exponent)
    if scaling is None:
        return frequencies
    turns = scaling.original_context_length * frequencies / (2.0 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)  # 1: left alone, 0: slowed in full
    return (1.0 - kept) * frequencies / scaling.factor + kept * frequencies


def rotation_tables(length: int, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, each (length, K) float32, the two halves alike."""
    angle = torch.arange(length, dtype=torch.float32).unsqueeze(1) * frequencies  # (T, K/2)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each head of x (B, T, H, K) by its position's angles."""
    first, second = x.chunk(2, dim=-1)
    return x * rotation.cos + torch.cat((-second, first), dim=-1) * rotation.sin
