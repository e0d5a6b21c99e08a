"""Low-rank adaptation (Hu et al. 2021): the weights stay, a small product beside them is trained.

    weight' = weight + (alpha / rank) * B @ A      A (rank, in) drawn, B (out, rank) zero

B is zero at the start, so the first forward pass is bit for bit the base model's. The sum is a
parametrisation of the weight itself: whatever reads the weight sees the adapted one, and merging
keeps exactly that tensor.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from model.layers import Linear
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class LoraConfig:
    """Which share of the model is trained: every linear map inside the blocks, at low rank."""

    rank: int = setting(8, "Rank of the trained product.", ge=1, le=4096)
    alpha: float = setting(16.0, "The product is scaled by alpha / rank.", gt=0.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


class LowRank(nn.Module):
    """weight -> weight + scale * B @ A, in float32."""

    def __init__(self, weight: Tensor, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = config.alpha / config.rank
        # Kaiming-uniform with a = sqrt(5), as the authors draw A: bound 1 / sqrt(in).
        bound = 1 / math.sqrt(columns)
        drawn = torch.empty(config.rank, columns).uniform_(-bound, bound, generator=generator)
        self.a = nn.Parameter(drawn.to(weight.device))  # (R, in)
        self.b = nn.Parameter(torch.zeros(rows, config.rank, device=weight.device))  # (out, R)

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return weight + self.scale * (self.b @ self.a)


def add_lora(model: nn.Module, config: LoraConfig, *, seed: int) -> int:
    """Freeze `model` and adapt every `Linear` inside its blocks; how many numbers are trained.

    `rank` must not exceed `largest_rank(model)`: training all weights is smaller then.
    """
    assert config.rank <= largest_rank(model), f"rank={config.rank} is not low"
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for _, linear in _adapted(model):
        low_rank = LowRank(linear.weight, config, generator)
        parametrize.register_parametrization(linear, "weight", low_rank, unsafe=True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def largest_rank(model: nn.Module) -> int:
    """The smaller side of the smallest map that would be adapted."""
    return min(min(linear.weight.shape) for _, linear in _adapted(model))


def merge_lora(model: nn.Module) -> None:
    """Make the adapted weights the weights; outputs do not change by a bit."""
    for _, linear in _adapted(model):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


def _adapted(model: nn.Module) -> list[tuple[str, Linear]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, Linear) and name.startswith("blocks.")
    ]
