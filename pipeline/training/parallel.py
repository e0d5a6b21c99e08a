"""How several processes train one model: each with a copy of it, or each with a share of it.

    ddp   weights, gradients, moments whole on every device; gradients are averaged
    fsdp  a share of the rows of each on every device; a block's weights are gathered while it runs

`fsdp` trains what does not fit one device. Two processes make the bits of one that accumulates over
the same two halves of a batch; another split sums gradients in another order. Where clipping acts,
`fsdp` differs as well: its norm is a sum over shares. Muon, which multiplies in bfloat16, enlarges
such a last bit: 1e-4 in the loss after ten steps, where AdamW stays within 1e-6.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from model.checkpoint_io import load_weights
from model.language_model import LanguageModel
from model.placement import whole
from pipeline.store.errors import ConfigError
from pipeline.training.devices import Distribution, World

_FORWARD = "forward_sync_buffers"  # its name from torch 2.13 on; the old one then warns
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_KEEPS_BUFFERS: dict[str, Any] = {_FORWARD if _FORWARD in _KNOWN else "broadcast_buffers": False}


@dataclass(frozen=True)
class Due:
    """What the clock of the leading process asks for after a step."""

    sample: bool
    save: bool
    stop: bool


class Copies:
    """The whole model on every process; one process alone is the simplest case of it."""

    def __init__(self, world: World) -> None:
        self.world = world

    def place(self, loss: nn.Module, blocks: Iterable[nn.Module]) -> None:
        """Before the optimiser is built: spread the parameters, where they are spread."""

    def wrap(self, loss: nn.Module) -> nn.Module:
        """The module to call in training."""
        if self.world.size == 1:
            return loss
        return DistributedDataParallel(loss, **_KEEPS_BUFFERS)

    def sync(self, module: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around the last micro-batch's backward pass gradients are shared, before it not."""
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()

    def changed(self, module: nn.Module) -> None:
        """Weights were changed between passes, not by the optimiser: forget gathered copies."""

    def agree(self, due: Callable[[], Due]) -> Due:
        """What this process has to do; here only the leading one saves and samples."""
        return due() if self.world.leads else Due(False, False, False)

    def gathered(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """The whole tensors on the leading process, None on others."""
        return tensors if self.world.leads else None

    @contextmanager
    def whole(
        self, model: LanguageModel, build: Callable[[], LanguageModel]
    ) -> Iterator[LanguageModel | None]:
        """The whole model on the leading process, None on others."""
        yield model if self.world.leads else None


class Shares(Copies):
    """A share of every parameter on each process: FSDP2, a group per block and one for the rest."""

    def __init__(self, world: World, device: torch.device) -> None:
        super().__init__(world)
        self.mesh = init_device_mesh(device.type, (world.size,))
        # Decisions go over the host: asking the device would wait for it after every step.
        self.talk = torch.distributed.new_group(backend="gloo")

    def place(self, loss: nn.Module, blocks: Iterable[nn.Module]) -> None:
        """Spread the rows of every parameter."""
        for block in blocks:
            fully_shard(block, mesh=self.mesh)
        fully_shard(loss, mesh=self.mesh)

    def wrap(self, loss: nn.Module) -> nn.Module:
        """FSDP2 works by hooks on the modules themselves."""
        return loss

    def sync(self, module: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Reduce gradients after the last micro-batch only."""
        assert isinstance(module, FSDPModule)
        module.set_requires_gradient_sync(last)
        return nullcontext()

    def changed(self, module: nn.Module) -> None:
        """The outermost group stays gathered after a pass without gradients."""
        assert isinstance(module, FSDPModule)
        module.reshard()

    def agree(self, due: Callable[[], Due]) -> Due:
        """All follow the leading process: saving and sampling gather weights from everyone."""
        told = torch.zeros(3, dtype=torch.uint8)
        if self.world.leads:
            mine = due()
            told = torch.tensor([mine.sample, mine.save, mine.stop], dtype=torch.uint8)
        torch.distributed.broadcast(told, src=0, group=self.talk)
        return Due(*map(bool, told.tolist()))

    def gathered(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Gather one tensor after the other; the leading process keeps them in host memory."""
        kept = {}
        for name, tensor in tensors.items():
            full = whole(tensor.detach())
            if self.world.leads:
                kept[name] = full.cpu()
        return kept if self.world.leads else None

    @contextmanager
    def whole(
        self, model: LanguageModel, build: Callable[[], LanguageModel]
    ) -> Iterator[LanguageModel | None]:
        """A whole model beside the shares, on the leading process."""
        weights = self.gathered(model.state_dict())
        if weights is None:
            yield None
            return
        complete = build()
        load_weights(complete, weights, where="the gathered model")
        yield complete


def parallel(
    distribution: Distribution, *, world: World, device: torch.device, batch_rows: int
) -> Copies:
    """The way the processes of `world` share a model.

    ConfigError when shares are asked for and the rows do not divide by the processes: they gather
    weights together and must make the same number of passes.
    """
    if distribution == "ddp" or world.size == 1:
        return Copies(world)
    if batch_rows % world.size:
        raise ConfigError(
            f"batch_rows={batch_rows} does not divide by {world.size} processes, as "
            "runtime.distribution=fsdp needs; choose a multiple"
        )
    return Shares(world, device)
