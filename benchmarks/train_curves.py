"""One training run with its clock stopped for evaluation; runs in the peers' environment.

    python -m benchmarks.train_curves JOB.json
JOB: {data, arm, shape, steps, schedule, settings, evaluate_at, threads, seed, nanogpt, epochs}.
`data` is an .npz of ids, `train` and `validation`. Prints one JSON line: the curve of training
seconds, step, training loss and validation loss (mean nats over ALL validation ids, read in rows
of the arm's own context), the step it was best at, and the number of parameters.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.train_arms import Arm, Shape, best_shape, huggingface, nanogpt, ours
from benchmarks.train_simple import cooled, train_gpt_simple
from model.host_memory import keep_freed_memory
from model.language_model import Initialization
from model.optim import optimizer_from_dict
from model.schedule import CosineSchedule, schedule_from_dict

EVALUATION_POSITIONS = 16_384  # at once


def main() -> None:
    """Train and report."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    with contextlib.redirect_stdout(sys.stderr):  # nanoGPT prints
        result = run(job)
    print(json.dumps(result))


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The curve of one run."""
    torch.manual_seed(job["seed"])
    shape = Shape(**job["shape"])
    data = np.load(job["data"])
    train, validation = (torch.from_numpy(data[k].astype(np.int64)) for k in data.files[:2])
    arm, factor = build(job, shape)
    rows = batches(train, shape, seed=job["seed"], in_order=job["arm"] == "ours")
    device = job.get("device", "cpu")
    seconds, steps, curve = 0.0, int(job["steps"]), []
    evaluate_at = {*job["evaluate_at"], steps}
    limit = job.get("seconds", math.inf)
    moments = sorted(job.get("evaluate_after", []))
    for step in range(steps):
        before = time.perf_counter()
        arm.set_rate(factor(step, seconds))
        inputs, targets = next(rows)
        loss = arm.step(inputs.to(device), targets.to(device))
        seconds += time.perf_counter() - before
        over = seconds >= limit
        if step + 1 in evaluate_at or over or (moments and seconds >= moments[0]):
            while moments and seconds >= moments[0]:
                moments.pop(0)
            curve.append({
                "step": step + 1, "seconds": round(seconds, 3), "train_loss": loss,
                "validation_loss": evaluate(arm, validation.to(device), shape),
            })  # fmt: skip
        if over:
            break
    return {"curve": curve, "parameters": arm.num_parameters, "tokens": shape.tokens * (step + 1)}


def build(job: dict[str, Any], shape: Shape) -> tuple[Arm, Callable[[int, float], float]]:
    """The arm, and its learning rate's factor at a step or after some seconds of training."""
    steps, limit = int(job["steps"]), job.get("seconds")
    settings, device = job["settings"], job.get("device", "cpu")
    compiled = bool(job.get("compile", False))
    if job["arm"] == "simple":
        arm = train_gpt_simple(shape, Path(job["simple"]), device=device, compile_model=compiled)
        return arm, lambda step, seconds: cooled(
            step / steps if limit is None else min(1.0, seconds / limit)
        )
    if job["arm"] == "ours":
        keep_freed_memory()
        model = replace(best_shape(shape), **settings.get("model", {}))
        if "init" in settings:
            model = replace(model, init=Initialization(**settings["init"]))
        arm = ours(
            model, optimizer_from_dict(settings["optimizer"]), job["dtype"], seed=job["seed"],
            grad_clip=settings.get("grad_clip", 1.0), device=device, compile_model=compiled,
            dropout=settings.get("dropout", 0.0),
        )  # fmt: skip
        schedule = schedule_from_dict(settings["schedule"])
    elif job["arm"] == "nanogpt":
        arm = nanogpt(
            shape, job["dtype"], Path(job["nanogpt"]), learning_rate=settings["learning_rate"],
            betas=tuple(settings["betas"]), bias=False, dropout=settings.get("dropout", 0.0),
            device=device, compile_model=compiled,
        )  # fmt: skip
        share = settings["warmup_steps"] / job.get("ticks", steps)
        schedule = CosineSchedule(warmup_fraction=min(1.0, share))
    else:
        arm = huggingface(shape, job["dtype"], device=device, compile_model=compiled)
        schedule = CosineSchedule()
    if limit is None:
        return arm, lambda step, _seconds: schedule.factor(step, steps)
    # A run of so many seconds: the schedule runs over the time instead of the steps.
    ticks = int(job["ticks"])
    return arm, lambda _step, seconds: schedule.factor(int(seconds / limit * ticks), ticks)


def batches(
    ids: Tensor, shape: Shape, *, seed: int, in_order: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of a step. nanoGPT draws windows anywhere, with replacement.

    Ours (`in_order`) cuts the text into windows at an offset that changes with every epoch, and
    shuffles them: each id is trained once per epoch.
    """
    length, rng = shape.context_length, np.random.default_rng(seed)
    places: list[int] = []
    while True:
        if not in_order:
            chosen = rng.integers(0, len(ids) - length, shape.rows)
        else:
            while len(places) < shape.rows:
                offset = int(rng.integers(length))
                starts = np.arange(offset, len(ids) - length, length)
                places += rng.permutation(starts).tolist()
            chosen, places = np.asarray(places[: shape.rows]), places[shape.rows :]
        index = torch.from_numpy(chosen)[:, None] + torch.arange(length)
        yield ids[index], ids[index + 1]


def evaluate(arm: Arm, ids: Tensor, shape: Shape) -> float:
    """Mean nats over all ids but the first, in rows of the context; the last row is shorter."""
    length = shape.context_length
    whole = (len(ids) - 1) // length
    inputs, targets = ids[: whole * length], ids[1 : whole * length + 1]
    rows = max(1, EVALUATION_POSITIONS // length)
    pieces = [
        *zip(inputs.view(-1, length).split(rows), targets.view(-1, length).split(rows), strict=True)
    ]
    rest = ids[whole * length :]
    if len(rest) > 1:
        pieces.append((rest[None, :-1], rest[None, 1:]))
    total = sum(arm.nats(x, y) * y.numel() for x, y in pieces)
    return total / (len(ids) - 1)


if __name__ == "__main__":
    main()
