"""Muon with the matrices of one shape orthogonalised together.

`torch.optim.Muon` takes one matrix after the other; small matrices leave a machine waiting. The
update, its coefficients and its state (`momentum_buffer`) are the base class's.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.placement import is_spread, local, spread_like


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
            gradients.append(local(parameter.grad))
            buffers.append(local(state["momentum_buffer"]))
        torch._foreach_lerp_(buffers, gradients, 1.0 - momentum)
        updates = buffers
        if group["nesterov"]:
            updates = list(torch._foreach_lerp(gradients, buffers, momentum))
        # A spread matrix is gathered: its rows alone have another nearest orthogonal matrix.
        directions = orthogonalized(
            torch.stack([_gathered(u, p) for u, p in zip(updates, parameters, strict=True)]),
            group["ns_coefficients"],
            group["ns_steps"],
            group["eps"],
        )
        rate = group["lr"] * _shape_factor(shape, group["adjust_lr_fn"])
        own = [
            local(spread_like(d, p)) for d, p in zip(directions.float(), parameters, strict=True)
        ]
        weights = [local(parameter) for parameter in parameters]
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, own, alpha=-rate)


def _gathered(update: Tensor, parameter: Tensor) -> Tensor:
    """The whole matrix of which `update` is this process's part."""
    if not is_spread(parameter):
        return update
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        update,
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    ).full_tensor()


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
