"""Weights as safetensors in our own names (float32), the architecture as JSON beside them.

directory/model.safetensors    directory/model.json
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.architectures import model_config_from_dict, model_config_to_dict
from model.errors import WeightsError
from model.language_model import ArchitectureConfig, ComputeDtype, LanguageModel
from model.placement import spread_like

WEIGHTS = "model.safetensors"
CONFIG = "model.json"
MOST_POSITIONS = 1 << 21  # tables of angles are computed for all of them: 2 GB at a head of 128
MOST_MISSING = 2  # what is drawn anew where files lack it (a head) is never more than what is there


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as one safetensors file: to a temporary name, fsync, then in place."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata=dict(metadata or {"format": "pt"}))
        _sync_and_replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read a safetensors file; WeightsError if it is missing or damaged."""
    try:
        return load_file(path, device=str(device))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; expected a safetensors file") from error
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}); it may be truncated, fetch or "
            f"save it again"
        ) from error


def save_model(model: LanguageModel, directory: Path) -> None:
    """Write `model.safetensors` and `model.json` into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(model.state_dict(), directory / WEIGHTS)
    text = json.dumps(model_config_to_dict(model.config), indent=2) + "\n"
    temporary = directory / f"{CONFIG}.tmp-{os.getpid()}"
    temporary.write_text(text, encoding="utf-8")
    _sync_and_replace(temporary, directory / CONFIG)


def load_model(
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    compute_dtype: ComputeDtype = "float32",
) -> LanguageModel:
    """The model that `save_model` wrote; WeightsError where files are missing or do not fit."""
    path = directory / CONFIG
    try:
        config = model_config_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; expected the architecture as JSON") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} does not describe an architecture: {error}") from error
    tensors = load_tensors(directory / WEIGHTS)
    refuse_larger(config, tensors, where=str(directory))
    model = config.build_empty(device=device, compute_dtype=compute_dtype)
    load_weights(model, tensors, where=str(directory / WEIGHTS))
    return model


def refuse_larger(config: ArchitectureConfig, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """WeightsError for an architecture that `tensors` cannot fill, before memory is taken for it.

    A few bytes of JSON can describe a model larger than any machine.
    """
    held = sum(tensor.numel() for tensor in tensors.values())
    try:
        fits = (
            config.layers <= len(tensors)
            and config.context_length <= MOST_POSITIONS
            and config.num_parameters() <= MOST_MISSING * held
        )
    except (RuntimeError, OverflowError, ValueError):  # shapes beyond what torch can count
        fits = False
    if not fits:
        raise WeightsError(
            f"{where} describes {config.layers} layers of width {config.width} for "
            f"{config.context_length} positions, its files hold {held} numbers in {len(tensors)} "
            f"tensors (and positions end at {MOST_POSITIONS}); description and weights are not "
            "of one model"
        )


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy all of `tensors` into all of `model`'s; WeightsError names the first misfit."""
    own: dict[str, Any] = model.state_dict()
    missing, unexpected = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    if missing or unexpected:
        raise WeightsError(
            f"{where} lacks {_some(missing)} and has unexpected {_some(unexpected)}; "
            f"it belongs to another architecture"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{where}: {name} has the shape {tuple(tensor.shape)}, the architecture expects "
                f"{tuple(own[name].shape)}"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(spread_like(tensor, own[name]))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "nothing"


def _sync_and_replace(temporary: Path, path: Path) -> None:
    """Durable before it has its name: a reader never sees half a file."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
