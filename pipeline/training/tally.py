"""What the loop adds up between two log points, and what it measures there."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.training.step import StepResult

PEAK_BF16: dict[str, float] = {
    "H100 SXM": 989e12,  # NVIDIA H100 data sheet, dense, without sparsity
    "H100 PCIe": 756e12,
    "H100 80GB HBM3": 989e12,
    "H100": 756e12,
    "H200": 989e12,  # NVIDIA H200 data sheet, SXM
    "A100": 312e12,  # NVIDIA A100 data sheet
    "L40S": 362e12,
    "L4": 121e12,
    "4090": 165e12,  # Ada GPU architecture white paper, table 2, float32 accumulation
    "3090": 71e12,  # GA102 white paper, table 3, float32 accumulation
}
"""Dense bfloat16 FLOP/s by a part of the device's name, the more exact names first."""


@dataclass
class Tally:
    """Sums since the last log point; device scalars, read only there."""

    loss: Tensor
    grad_norm: Tensor
    applied: Tensor
    tokens: int = 0
    steps: int = 0
    data_wait: float = 0.0
    """Seconds the loop waited for the next batch."""
    history: list[Tensor] = field(default_factory=list)
    """Loss of each step (NaN where skipped)."""

    @classmethod
    def empty(cls, device: torch.device) -> "Tally":
        """Zero everywhere."""
        zero = torch.zeros(3, dtype=torch.float64, device=device)
        return cls(zero[0], zero[1], zero[2])

    def add(self, result: StepResult, tokens: int) -> None:
        """Count one step."""
        self.loss += torch.where(result.applied, result.loss, 0.0)
        self.grad_norm += torch.where(result.applied, result.grad_norm, 0.0)
        self.applied += result.applied
        self.history.append(torch.where(result.applied, result.loss, math.nan))
        self.tokens += tokens
        self.steps += 1


def model_flops_utilization(
    tokens_per_second: float, flops_per_token: int, device: torch.device, dtype: str
) -> float | None:
    """Tokens/s of one device times model FLOPs per token over the device's peak.

    PaLM (Chowdhery et al. 2022), appendix B. None where the peak is not in `PEAK_BF16` (CPUs, other
    types): a share of an unknown peak would be a guess.
    """
    if device.type != "cuda" or dtype != "bfloat16":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((flops for part, flops in PEAK_BF16.items() if part in name), None)
    return None if peak is None else round(tokens_per_second * flops_per_token / peak, 4)
