"""Tensors that are spread over processes (DTensor) and the whole ones they stand for.

    whole (rows, columns)  --spread_like-->  this process's rows  --whole-->  (rows, columns)

Both directions pass plain tensors through, so one process needs no case of its own.
"""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a spread tensor, on every process that asks; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, the same on every process, spread as `like` is; nothing is sent."""
    if not isinstance(like, DTensor):
        return tensor
    on_device = tensor.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """This process's part; the tensor itself where it is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
