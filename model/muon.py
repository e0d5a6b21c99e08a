"""Muon with the matrices of one shape orthogonalised together.

`torch.optim.Muon` takes one matrix after the other; small matrices leave a machine waiting. The
update, its coefficients and its state (`momentum_buffer`) are the base class's.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """torch.optim.Muon whose step stacks the matrices of equal shape."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                self._step_shape(group, shape, parameters)
        return loss

    def _step_shape(
        self, group: dict[str, Any], shape: torch.Size, parameters: list[Tensor]
    ) -> None:
        momentum, gradients, buffers = group["momentum"], [], []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter.grad)
            gradients.append(parameter.grad)
            buffers.append(state["momentum_buffer"])
        torch._foreach_lerp_(buffers, gradients, 1.0 - momentum)
        updates = buffers
        if group["nesterov"]:
            updates = list(torch._foreach_lerp(gradients, buffers, momentum))
        directions = orthogonalized(
            torch.stack(updates), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rate = group["lr"] * _shape_factor(shape, group["adjust_lr_fn"])
        torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(directions.float().unbind()), alpha=-rate)


def orthogonalized(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> Tensor:
    """(n, rows, columns) -> the nearest semi-orthogonal matrices, roughly, in bfloat16.

    Newton-Schulz with Jordan's quintic: the singular values end between about 0.5 and 1.5.
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(epsilon)  # spectral norm at most 1
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


def _shape_factor(shape: torch.Size, adjust: str | None) -> float:
    """How the rate depends on the shape, as torch.optim.Muon defines it."""
    if adjust == "match_rms_adamw":
        return 0.2 * math.sqrt(max(shape[0], shape[1]))  # Moonshot: the size of AdamW's updates
    return math.sqrt(max(1.0, shape[0] / shape[1]))  # Jordan's original
