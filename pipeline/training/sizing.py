"""`size: auto`: measure this machine, choose a model by the rules of `scaling`, remember it.

    PretrainConfig(size="auto", budget=...) --> PretrainConfig(model=..., horizon=..., ...)
                                           '--> root/resolved/size-<hash>.json

Decided once per data, budget and settings: a rerun, on any machine, reads the file, so that an
artifact's identity does not depend on where or when the command is repeated.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.batch import Batch
from model.optim import build_optimizer
from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_json
from pipeline.store.fingerprint import digest, plain, short
from pipeline.store.runtime import Runtime
from pipeline.training.config import Minutes, PretrainConfig, Tokens
from pipeline.training.devices import ResolvedDtype, World, fast_dtype, local_device, torch_threads
from pipeline.training.scaling import (
    DEPTHS,
    LAW,
    MAX_EPOCHS,
    REFERENCE_BATCH,
    auto_batch_rows,
    auto_dropout,
    auto_model,
    auto_optimizer,
    auto_schedule,
    best,
    candidates,
)

MEASURE_SECONDS = 6.0  # in all; a depth that is not reached is predicted from its FLOPs
STEPS_PER_DEPTH = 3
OVERHEAD = 0.05  # of a budget in minutes: validation, samples, checkpoints


@dataclass(frozen=True)
class SizePlan:
    """What was chosen, and what is expected of it."""

    depth: int
    tokens: int
    predicted_loss: float
    """Nats per token of the validation split at the end."""
    epochs: float
    tokens_per_second: dict[str, float]
    """By depth; measured for the first ones, predicted beyond."""
    measured_depths: int


def resolve_size(
    config: PretrainConfig,
    *,
    vocab_size: int,
    unique_tokens: int,
    bytes_per_token: float,
    inputs: list[str],
    root: Path,
    runtime: Runtime,
) -> tuple[PretrainConfig, SizePlan | None]:
    """The configuration with everything decided, and the plan; unchanged without `size: auto`.

    With `runtime.may_build` the plan is written to `root/resolved`; ArtifactError for a damaged
    file there.
    """
    if config.size is None or config.budget is None:
        return config, None
    path = root / "resolved" / f"size-{short(_identity(config, inputs))}.json"
    plan = _read(path)
    if plan is None:
        dtype = fast_dtype(runtime.device) if config.dtype == "auto" else config.dtype
        rates, measured = measure_rates(
            vocab_size, config.context_length, device=runtime.device, dtype=dtype,
            threads=runtime.threads,
        )  # fmt: skip
        plan = _choose(config.budget, rates, measured, unique_tokens, bytes_per_token)
        if runtime.may_build:
            write_json(path, {**asdict(plan), "law": asdict(LAW), "device": runtime.device})
    _tell(plan, runtime)
    return _applied(config, plan), plan


def _identity(config: PretrainConfig, inputs: list[str]) -> str:
    """What a plan is remembered by; choices that were not there once are left out unmade."""
    settings = plain(config)
    for name, unmade in (("dropout", 0.0), ("keep", "last")):
        if settings[name] == unmade:
            del settings[name]
    return digest({"size of": [settings, inputs]})


def measure_rates(
    vocab_size: int, context_length: int, *, device: str, dtype: ResolvedDtype, threads: int | None
) -> tuple[dict[int, float], int]:
    """Tokens per second by depth, and how many of the depths were measured.

    The others follow from their FLOPs at the last measured depth's FLOPs per second.
    """
    rates: dict[int, float] = {}
    flops_per_second, spent = 0.0, 0.0
    measured = 0
    with torch_threads(threads):
        for depth in DEPTHS:
            model = replace(auto_model(depth), vocab_size=vocab_size, context_length=context_length)
            flops = model.flops_per_token()
            if spent < MEASURE_SECONDS:
                before = time.perf_counter()
                rates[depth] = _rate(depth, vocab_size, context_length, device, dtype)
                spent += time.perf_counter() - before
                flops_per_second = rates[depth] * flops
                measured += 1
            else:
                rates[depth] = flops_per_second / flops
    return rates, measured


def _rate(
    depth: int, vocab_size: int, context_length: int, device: str, dtype: ResolvedDtype
) -> float:
    """Positions per second of real training steps on random ids, the first step left out."""
    # Heavy: torch.distributed.
    from pipeline.training.parallel import Copies
    from pipeline.training.step import Stepper, SummedLoss

    place = local_device(device, World())
    model = replace(auto_model(depth), vocab_size=vocab_size, context_length=context_length)
    built = model.build(device=place, compute_dtype=dtype)
    stepper = Stepper(
        SummedLoss(built), build_optimizer(built, auto_optimizer(depth, epochs=1.0)),
        micro_rows=1 << 30, grad_clip=1.0, device=place, parallel=Copies(World()),
    )  # fmt: skip
    rows = max(1, REFERENCE_BATCH // context_length)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (rows, context_length + 1), generator=generator)
    batch = Batch(
        ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), torch.ones(rows, context_length),
        torch.ones(rows, context_length, dtype=torch.int64),
        torch.arange(context_length).expand(rows, context_length),
    ).to(place)  # fmt: skip
    positions, times = rows * context_length, []
    for _ in range(STEPS_PER_DEPTH):
        before = time.perf_counter()
        float(stepper.step(batch, trained_tokens=float(positions)).loss)  # waits for the device
        times.append(time.perf_counter() - before)
    return positions / min(times[1:])


def _choose(
    budget: Minutes | Tokens,
    rates: Mapping[int, float],
    measured: int,
    unique_tokens: int,
    bytes_per_token: float,
) -> SizePlan:
    seconds = budget.minutes * 60.0 * (1.0 - OVERHEAD) if isinstance(budget, Minutes) else None
    found = candidates(
        rates, seconds=seconds, tokens=budget.tokens if isinstance(budget, Tokens) else None,
        unique=unique_tokens, bytes_per_token=bytes_per_token,
    )  # fmt: skip
    chosen = best(found, unique=unique_tokens)
    return SizePlan(
        chosen.depth, chosen.tokens, chosen.predicted_loss, chosen.tokens / unique_tokens,
        {str(depth): rate for depth, rate in rates.items()}, measured,
    )  # fmt: skip


def _applied(config: PretrainConfig, plan: SizePlan) -> PretrainConfig:
    rows = auto_batch_rows(plan.tokens, config.context_length)
    averaged = config.average is not None and config.average.keep == "average"
    return replace(
        config, size=None, budget=None, model=auto_model(plan.depth), batch_rows=rows,
        horizon=Tokens(plan.tokens), optimizer=auto_optimizer(plan.depth, epochs=plan.epochs),
        schedule=auto_schedule(), dropout=auto_dropout(plan.epochs),
        keep="best" if plan.epochs > MAX_EPOCHS and not averaged else "last",
    )  # fmt: skip


def _tell(plan: SizePlan, runtime: Runtime) -> None:
    model = auto_model(plan.depth)
    runtime.progress.event("size_chosen", {
        "layers": model.layers, "width": model.width, "tokens": plan.tokens,
        "epochs": round(plan.epochs, 2), "predicted_loss": round(plan.predicted_loss, 3),
        "tokens_per_second": round(plan.tokens_per_second[str(plan.depth)]),
    })  # fmt: skip
    if plan.epochs > MAX_EPOCHS:
        message = (
            f"pretrain.budget repeats the training text {plan.epochs:.1f} times; beyond "
            f"{MAX_EPOCHS} epochs repeated text teaches little (Muennighoff et al. 2023): the "
            "smaller model was preferred, it learns more slowly, its weights decay, a part of its "
            "activations is dropped and the weights of the lowest validation loss are kept; add "
            "text, or lower the budget"
        )
        runtime.progress.event("warning", {"message": message})


def compared(plan: SizePlan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Prediction beside outcome, for the manifest: nats per token, and outcome / prediction - 1."""
    kept = "best" if facts.get("kept_step") == facts.get("best_step") else "final"
    outcome = facts.get(f"{kept}_validation_loss")
    return {
        "predicted_validation_loss": plan.predicted_loss,
        "prediction_error": None if outcome is None else outcome / plan.predicted_loss - 1.0,
        "predicted_tokens_per_second": plan.tokens_per_second[str(plan.depth)],
    }


def _read(path: Path) -> SizePlan | None:
    if not path.is_file():
        return None
    values = read_json(path)
    try:
        if not isinstance(values, dict):
            raise TypeError(f"it is a {type(values).__name__}")
        plan = SizePlan(**{k: v for k, v in values.items() if k not in ("law", "device")})
        if (
            plan.depth not in DEPTHS
            or plan.tokens < 1
            or str(plan.depth) not in (plan.tokens_per_second)
        ):
            raise ValueError(f"depth={plan.depth}, tokens={plan.tokens}")
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{path} holds no size: {error}; delete it and rerun") from error
    return plan
