"""How a run ends: the facts of its manifest, or an error with a remedy."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import SafetensorError

from model.errors import ModelError
from pipeline.store.errors import ArtifactError, TrainingError
from pipeline.training.checkpoint import TrainingState
from pipeline.training.devices import World
from pipeline.training.job import TrainingJob
from pipeline.training.memory import is_out_of_memory
from pipeline.training.records import read_records


def final_facts(
    job: TrainingJob,
    state: TrainingState,
    *,
    kept_step: int,
    seconds: float,
    tokens_per_second: float | None,
    num_parameters: int,
    micro_batch_rows: int,
    stopped_rate: float | None,
    stalled_seconds: float,
    world: World,
) -> dict[str, Any]:
    """What the manifest says about a finished run; losses in nats per trained token.

    `checkpoint_stall` is the share of the time in which the loop stood still for saving, since the
    last resume. `turning_point` is the step of the lowest validation loss when it rose afterwards,
    else None.
    """
    recent = state.recent_losses
    validations = [r for r in read_records(job.path / "curve.jsonl") if "validation_loss" in r]
    last_validation = validations[-1] if validations else {"step": None, "validation_loss": None}
    turned = state.best_step is not None and state.best_step != last_validation["step"]
    return {
        "steps": state.step,
        "planned_steps": job.steps,
        "kept_step": kept_step,
        "stopped_early": state.step < job.steps,
        "tokens": state.step * job.tokens_per_step,
        "final_train_loss": sum(recent) / len(recent) if recent else None,
        "final_validation_loss": last_validation["validation_loss"],
        "best_validation_loss": state.best_loss,
        **_averaged(job, last_validation),
        "best_step": state.best_step,
        "turning_point": state.best_step if turned else None,
        "skipped_steps": state.skipped,
        "skipped_at": state.skipped_at,
        "num_parameters": num_parameters,
        "micro_batch_rows": micro_batch_rows,
        "parameter_bytes": 4 * num_parameters,
        "flops_per_token": job.flops_per_token,
        "seconds": round(seconds, 2),
        "tokens_per_second": tokens_per_second and round(tokens_per_second, 1),
        "stopped_rate": stopped_rate,
        "checkpoint_stall": round(stalled_seconds / seconds, 5) if seconds else 0.0,
        "resumed": state.resumed,
        "dtype": job.dtype,
        "seed": job.seed,
        "compile": job.compile,
        "world_size": world.size,
        "threads": torch.get_num_threads(),
    }


def _averaged(job: TrainingJob, last: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a run that kept an average: its last loss, and whether it is the final weights."""
    if job.average is None:
        return {}
    return {
        "average_validation_loss": last.get("average_validation_loss"),
        "final_weights": job.average.keep,
    }


@contextlib.contextmanager
def explaining_failures(job: TrainingJob) -> Iterator[None]:
    """Turn a lack of memory and the model floor's errors into ours, with a remedy."""
    try:
        yield
    except SafetensorError as error:
        raise ArtifactError(
            f"weights in {job.path} cannot be written: {error}; free some space"
        ) from error
    except ModelError as error:
        raise TrainingError(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out on {job.device}, however few of {job.micro_batch_rows} rows of "
            f"{job.context_length} positions were computed at once; lower micro_batch_rows (same "
            f"result, less memory), context_length or the model's size ({error})"
        ) from error
