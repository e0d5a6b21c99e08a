"""Which device, how many processes, which compute type: decided once, in one place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from model.host_memory import keep_freed_memory
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json, write_json
from pipeline.store.fingerprint import digest, short
from pipeline.training.config import Dtype

ResolvedDtype = Literal["float32", "bfloat16"]
Distribution = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class World:
    """This process among the processes that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def num_processes(device: str) -> int:
    """One process per visible GPU for `cuda`; `cpu` and a numbered GPU get one."""
    return max(1, torch.cuda.device_count()) if device == "cuda" else 1


def local_device(device: str, world: World) -> torch.device:
    """The device of this process; ConfigError if the machine lacks it."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"runtime.device={device} but torch {torch.__version__} sees no GPU; use cpu"
        )
    if device == "cuda":
        return torch.device("cuda", world.local_rank)
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"runtime.device={device!r} is unknown; use cpu, cuda or cuda:N"
        ) from error


def fast_dtype(device: str) -> ResolvedDtype:
    """bfloat16 where the hardware multiplies it (2.5x float32 on avx512_bf16), else float32."""
    if device.startswith("cuda"):
        return (
            "bfloat16"
            if torch.cuda.is_available() and torch.cuda.is_bf16_supported()
            else "float32"
        )
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def resolve_dtype(
    dtype: Dtype, *, identity: Any, root: Path, device: str, remember: bool
) -> ResolvedDtype:
    """Decide `auto` once per `identity` and remember it in `root/resolved/<hash>.json`.

    A rerun, on any machine, reads the file: an artifact's fingerprint does not depend on where the
    command is repeated. `remember=False` writes nothing: a plan may look from another device, and
    its answer must not become the run's.
    """
    if dtype != "auto":
        return dtype
    path = root / "resolved" / f"{short(digest({'dtype of': identity}))}.json"
    if path.is_file():
        found = read_json(path).get("dtype")
        if found not in ("float32", "bfloat16"):
            raise ArtifactError(f"{path} holds dtype={found!r}; delete it and rerun")
        return "bfloat16" if found == "bfloat16" else "float32"
    chosen = fast_dtype(device)
    if remember:
        write_json(path, {"dtype": chosen, "requested": "auto", "device": device})
    return chosen


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Torch's intra-op threads inside this block, restored afterwards; freed memory is kept."""
    keep_freed_memory()
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
