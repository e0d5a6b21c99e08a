"""Checkpoints a killed run goes on from: whole and hashed, or not there at all.

    checkpoints/step-00000120/  weights.safetensors optimizer.safetensors state.json complete.json
    checkpoints/best-00000100/  weights.safetensors                                  complete.json

Everything is written into `*.tmp-<pid>`, fsynced, listed with size and sha256 in `complete.json`,
and renamed. No pickle: tensors are safetensors by parameter name, the rest is JSON. Randomness and
data position are functions of (seed, step), so the step is their whole state.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from model.checkpoint_io import load_tensors, load_weights, save_tensors
from model.errors import WeightsError
from model.optim import Optimizer
from pipeline.store.errors import ArtifactError, TrainingError
from pipeline.store.files import fsync_directory, read_json, sha256_file, write_json

COMPLETE = "complete.json"
WEIGHTS, MOMENTS = "weights.safetensors", "optimizer.safetensors"
STATE_VERSION = 1
KEPT = 2
SKIPPED_NAMED = 100


@dataclass
class TrainingState:
    """The numbers that go on beside weights and moments."""

    step: int = 0
    """Steps done; also the position in the data and the state of the random numbers."""
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_row: int = 0
    skipped_at: list[int] = field(default_factory=list)
    """Which steps were skipped, counted from 1: the newest `SKIPPED_NAMED`."""
    spike_window: list[float] = field(default_factory=list)
    """What `SpikeWatch` looks back at."""
    recent_losses: list[float] = field(default_factory=list)
    best_loss: float | None = None
    best_step: int | None = None
    validations_since_best: int = 0
    resumed: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A run at one step: what its checkpoint holds."""

    state: TrainingState
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def write_checkpoint(
    checkpoints: Path,
    *,
    digest: str,
    snapshot: Snapshot,
    kept: int = KEPT,
    milestone_steps: int | None = None,
) -> Path:
    """Write `checkpoints/step-N`, keep the newest `kept`; ArtifactError on a full disk.

    Those at multiples of `milestone_steps` stay too. The older ones go only when the new one, read
    back, has the sizes and hashes it should.
    """
    state = snapshot.state
    document = {"version": STATE_VERSION, "digest": digest, "state": asdict(state)}

    def write(directory: Path) -> None:
        _save(snapshot.weights, directory / WEIGHTS)
        _save(snapshot.moments, directory / MOMENTS)
        write_json(directory / "state.json", document)

    path = _write_folder(checkpoints / f"step-{state.step:08d}", write)
    verify_folder(path)
    folders = _folders(checkpoints, "step-")
    staying = folders[:kept]
    for old in folders[kept:]:
        if milestone_steps and int(old.name.removeprefix("step-")) % milestone_steps == 0:
            staying.append(old)
        else:
            shutil.rmtree(old)
    _remove_unused_best(checkpoints, staying)
    return path


def write_best(checkpoints: Path, *, step: int, weights: Mapping[str, Tensor]) -> Path:
    """Write `checkpoints/best-N`: the weights with the lowest validation loss so far."""
    target = checkpoints / f"best-{step:08d}"
    return _write_folder(target, lambda directory: _save(weights, directory / WEIGHTS))


def load_best(checkpoints: Path, *, step: int, model: nn.Module) -> None:
    """Put the best weights into `model`; ArtifactError if they are damaged."""
    folder = checkpoints / f"best-{step:08d}"
    verify_folder(folder)
    _load(folder / WEIGHTS, model)


def resume(
    checkpoints: Path,
    *,
    digest: str,
    model: nn.Module,
    optimizer: Optimizer,
    needs_best: bool,
    damaged: Callable[[str], None],
) -> TrainingState | None:
    """Load the newest whole checkpoint into model and optimisers; None when there is none at all.

    With `needs_best` its best weights must be whole too. A damaged one is reported to `damaged`,
    removed, and the one before it taken. TrainingError when every checkpoint is damaged;
    ArtifactError for one of another job.
    """
    folders = _folders(checkpoints, "step-")
    for folder in folders:
        try:
            verify_folder(folder)
            document = read_json(folder / "state.json")
            state = TrainingState(**document["state"])
            if needs_best and state.best_step is not None:
                verify_folder(checkpoints / f"best-{state.best_step:08d}")
        except (ArtifactError, KeyError, TypeError) as error:
            damaged(f"{folder.name} cannot be used: {error}")
            shutil.rmtree(folder)
            continue
        if document["digest"] != digest:
            raise ArtifactError(
                f"{folder} is of the job {document['digest'][:12]}, this one is {digest[:12]}; "
                f"delete {checkpoints} to start over"
            )
        _load(folder / WEIGHTS, model)
        device = next(model.parameters()).device
        # Moments go where the weights are, step counters too: fused kernels read them there.
        optimizer.load_state_tensors(load_tensors(folder / MOMENTS, device=device))
        return state
    if folders:
        raise TrainingError(
            f"all {len(folders)} checkpoints in {checkpoints} were damaged and are removed; "
            "run the same command again to train from the start"
        )
    return None


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """safetensors reports a full disk in words of its own; make it the OSError it is."""
    try:
        save_tensors(tensors, path)
    except SafetensorError as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise OSError(errno.ENOSPC, f"No space left on device writing {path.name}") from error
        raise ArtifactError(f"{path} cannot be written: {error}") from error


def _load(path: Path, model: nn.Module) -> None:
    try:
        load_weights(model, load_tensors(path), where=str(path))
    except WeightsError as error:
        raise ArtifactError(f"{error}; delete {path.parent.parent} to start over") from error


def verify_folder(folder: Path) -> None:
    """Check every file against `complete.json`; ArtifactError names the first bad one."""
    listed = read_json(folder / COMPLETE)
    if not isinstance(listed, dict) or not listed:
        raise ArtifactError(f"{folder / COMPLETE} lists no files")
    for name, facts in listed.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != facts["bytes"]:
            raise ArtifactError(f"{path} has {size} bytes, {COMPLETE} says {facts['bytes']}")
        found = sha256_file(path)
        if found != facts["sha256"]:
            raise ArtifactError(
                f"{path} is damaged: sha256 expected {facts['sha256']}, found {found}"
            )


def _write_folder(target: Path, write: Callable[[Path], None]) -> Path:
    """Fill a temporary directory, seal it with `complete.json`, rename it to `target`."""
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        files = sorted(path for path in temporary.iterdir() if path.is_file())
        listed = {p.name: {"bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in files}
        write_json(temporary / COMPLETE, listed)
        fsync_directory(temporary)
        if target.exists():  # a killed run got here before, with the same content
            shutil.rmtree(target)
        os.rename(temporary, target)
        fsync_directory(target.parent)
    except OSError as error:
        raise _explained(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _explained(error: OSError, target: Path) -> ArtifactError | OSError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return ArtifactError(
        f"the disk is full: {error} while saving {target}; free some space and run the same "
        "command again, it goes on from the checkpoint before"
    )


def _folders(checkpoints: Path, prefix: str) -> list[Path]:
    """Finished folders, newest step first."""
    found = [p for p in checkpoints.glob(f"{prefix}*") if p.is_dir() and ".tmp-" not in p.name]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _remove_unused_best(checkpoints: Path, kept: Iterable[Path]) -> None:
    """A best folder stays as long as a kept checkpoint needs it."""
    needed = {read_json(folder / "state.json")["state"]["best_step"] for folder in kept}
    for folder in _folders(checkpoints, "best-"):
        if int(folder.name.removeprefix("best-")) not in needed:
            shutil.rmtree(folder)
