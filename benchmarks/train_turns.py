"""A process that holds trainers and steps them on request; runs in the peers' environment.

    python -m benchmarks.train_turns JOB.json
JOB: {shape, threads, keep_memory, nanogpt, device}. Each line on stdin is `ARM DTYPE STEPS`, each
line on stdout answers with the seconds of those steps and the last loss; an arm is built when it is
first named. The first line out says that the imports are done.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()

import torch  # noqa: E402

from benchmarks.train_arms import (  # noqa: E402
    Arm,
    Shape,
    huggingface,
    litgpt,
    nanogpt,
    our_adamw,
    our_best,
)
from model.host_memory import keep_freed_memory  # noqa: E402

IMPORTED = time.perf_counter()


def main() -> None:
    """Build the arms at their first step; answer until stdin ends."""
    with open(sys.argv[1], encoding="utf-8") as handle:
        job = json.load(handle)
    torch.set_num_threads(job["threads"])
    if job["keep_memory"]:
        keep_freed_memory()
    device = job.get("device", "cpu")
    generator = torch.Generator().manual_seed(0)
    shape = Shape(**job["shape"])
    size = (shape.rows, shape.context_length)
    arms: dict[tuple[str, str], Arm] = {}
    say({"ready": True, "import_seconds": IMPORTED - STARTED, "torch": torch.__version__})
    for line in sys.stdin:
        name, dtype, steps = line.split()
        before = time.perf_counter()
        if (name, dtype) not in arms:
            with contextlib.redirect_stdout(sys.stderr):  # nanoGPT prints
                arms[name, dtype] = build(name, dtype, shape, job)
        arm = arms[name, dtype]
        built = time.perf_counter() - before
        seconds, loss = [], float("nan")
        for _ in range(int(steps)):
            inputs = torch.randint(shape.vocab_size, size, generator=generator).to(device)
            targets = torch.randint(shape.vocab_size, size, generator=generator).to(device)
            before = time.perf_counter()
            loss = arm.step(inputs, targets)
            seconds.append(time.perf_counter() - before)
        say({
            "seconds": seconds, "loss": loss, "built_seconds": built,
            "since_import": time.perf_counter() - IMPORTED, "parameters": arm.num_parameters,
        })  # fmt: skip


def build(name: str, dtype: str, shape: Shape, job: dict[str, Any]) -> Arm:
    """The arm called `name`; `-compiled` at its end compiles it."""
    plain = name.removesuffix("-compiled")
    options = {"compile_model": plain != name, "device": job.get("device", "cpu")}
    if plain == "ours":
        return our_adamw(shape, dtype, **options)
    if plain == "ours-tanh":
        return our_adamw(shape, dtype, exact_gelu=False, **options)
    if plain == "ours-best":
        return our_best(shape, dtype, **options)
    if plain == "nanogpt":
        return nanogpt(shape, dtype, Path(job["nanogpt"]), **options)
    if plain == "huggingface":
        return huggingface(shape, dtype, **options)
    assert plain == "litgpt", name
    return litgpt(shape, dtype, **options)


def say(record: dict[str, object]) -> None:
    """One JSON line on stdout."""
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
