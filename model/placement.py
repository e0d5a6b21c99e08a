"""Tensors that are spread over processes (DTensor) and the whole ones they stand for.

    whole (rows, columns)  --spread_like-->  this process's rows  --whole-->  (rows, columns)

Both directions pass plain tensors through, so one process needs no case of its own, and never
waits for DTensor's module to load.
"""

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_spread(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether it is a DTensor; where their module was never loaded there are none."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a spread tensor, on every process that asks; all of them must ask."""
    return tensor.full_tensor() if is_spread(tensor) else tensor


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, the same on every process, spread as `like` is; nothing is sent."""
    if not is_spread(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    on_device = tensor.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """This process's part; the tensor itself where it is not spread."""
    return tensor.to_local() if is_spread(tensor) else tensor
