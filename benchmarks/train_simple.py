"""modded-nanogpt's train_gpt_simple.py as an arm: its model and Muon, its settings, one process.

The file is a script for torchrun and a GPU; what stands above its "Setup" banner (classes and
functions) is executed where it lies, the rest (groups, rates, schedule) is repeated here as facts.
"""

import sys
from pathlib import Path
from types import ModuleType

import torch
import torch.distributed
from torch import Tensor, nn

from benchmarks.train_arms import Arm, Shape
from pipeline.store.errors import ConfigError

BANNER = "#                Setup                 #"
COOLDOWN = 0.7  # its set_hparams: full rate for 30 %, then straight down


def cooled(progress: float) -> float:
    """Its learning rate's factor when `progress` (0 to 1) of the run is done."""
    return min(1.0, (1.0 - progress) / COOLDOWN)


def train_gpt_simple(shape: Shape, file: Path, *, device: str, compile_model: bool) -> Arm:
    """Its model at `shape` (heads are 128 wide there) with its two optimisers."""
    if not torch.distributed.is_initialized():  # its Muon asks for the number of processes
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    script = _above_setup(file)
    width = max(shape.width, 128)
    model: nn.Module = script.GPT(shape.vocab_size, shape.layers, width).to(device)
    for name, parameter in model.named_parameters():
        weights = parameter.data
        if name.endswith("gains"):
            weights.fill_(1.0)
        elif name.endswith("bias") or "proj" in name:
            weights.zero_()
        elif "embed" in name:
            weights.normal_()
        else:
            weights.normal_(std=0.33**0.5 / weights.size(-1) ** 0.5)
    groups = [
        {"params": [model.embed.weight], "lr": 0.7},  # type: ignore[union-attr]
        {"params": [model.proj.weight], "lr": 0.004},  # type: ignore[union-attr]
        {"params": [p for p in model.parameters() if p.ndim < 2], "lr": 0.015},
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.001, fused=True)
    matrices = [p for p in model.blocks.parameters() if p.ndim >= 2]  # type: ignore[union-attr]
    optimizers = [adamw, script.Muon(matrices, lr=0.025, weight_decay=0.05)]
    full = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    called = torch.compile(model, dynamic=False) if compile_model else model

    def step(inputs: Tensor, targets: Tensor) -> float:
        total = called(inputs, targets)
        total.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        return total.item() / targets.numel()

    @torch.no_grad()
    def nats(inputs: Tensor, targets: Tensor) -> float:
        return float(model(inputs, targets)) / targets.numel()

    def set_rate(factor: float) -> None:
        for optimizer, rates in zip(optimizers, full, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    return Arm(step, nats, set_rate, sum(p.numel() for p in model.parameters()))


def _above_setup(file: Path) -> ModuleType:
    text = file.read_text(encoding="utf-8")
    head, banner, _ = text.partition(BANNER)
    if not banner:
        raise ConfigError(f"{file} has no Setup banner; check out the commit that is named")
    module = ModuleType("train_gpt_simple")
    sys.modules[module.__name__] = module
    exec(compile(head, str(file), "exec"), module.__dict__)  # it reads sys.argv[0]: that is ours
    return module
