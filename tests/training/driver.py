"""Train in a process of its own and die on demand: `python -m tests.training.driver FOLDER POINT..`

Each POINT gets a root of its own, is killed there with SIGKILL (forked child, torch imported once),
and run again. Prints one JSON object: per point how the first run ended, what the second one made.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.optim import AdamWConfig, build_optimizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.files import sha256_file
from pipeline.training import build, checkpoint, loop
from tests.training.worlds import CONFIG, MODEL, RUNTIME, zen_world

KILLED_STEP = 7
SAVING = replace(RUNTIME, checkpoint_every_seconds=0.0)  # after every step


def die() -> None:
    """SIGKILL to this process: nothing is flushed, no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """`function`, which kills the process right after its call number `calls`."""
    seen = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        result = function(*args, **kwargs)
        seen += 1
        if seen == calls:
            die()
        return result

    return wrapped


def arm(point: str) -> None:
    """Replace one function by a deadly one, or start a deadly clock for `random:SEED`."""
    if point == "in a step":
        loop.Trainer._step = dying_after(loop.Trainer._step, KILLED_STEP)
    elif point == "in the middle of a save":  # weights are written, moments are not
        checkpoint._save = dying_after(checkpoint._save, 2 * KILLED_STEP - 1)
    elif point == "before old checkpoints go":
        checkpoint.os.rename = dying_after(os.rename, KILLED_STEP)
    elif point == "before the manifest":
        build.run_job = dying_after(build.run_job, 1)
    elif point == "before the facts":
        loop.save_model = dying_after(loop.save_model, 1)
    elif point.startswith("random:"):
        wait = random.Random(point).uniform(0.0, 0.9)
        threading.Thread(target=lambda: (time.sleep(wait), die()), daemon=True).start()


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(root: Path, point: str | None) -> None:
    """The whole stage, from making the shards to the sealed checkpoint."""
    if point is not None:
        arm(point)
    tokenizer, shards = zen_world(root)
    made = pretrain(CONFIG, shards, tokenizer, root=root, runtime=SAVING)
    lines = [json.loads(line) for line in (made.path / "curve.jsonl").open()]
    result = {
        "weights": sha256_file(made.weights_path),
        "fingerprint": made.fingerprint,
        "steps": [line["step"] for line in lines if "train_loss" in line],
        "losses": [line["train_loss"] for line in lines if "train_loss" in line],
        "samples": [json.loads(line)["when"] for line in (made.path / "samples.jsonl").open()],
        "files": sorted(str(p.relative_to(made.path)) for p in made.path.rglob("*") if p.is_file()),
        "resumed": made.facts["resumed"],
    }
    (root / "result.json").write_text(json.dumps(result))


def main(folder: Path, points: list[str]) -> dict[str, Any]:
    """Kill and rerun at each point."""
    torch.set_num_threads(1)
    build_optimizer(MODEL.build(), AdamWConfig())  # what torch imports lazily, once for all forks
    results: dict[str, Any] = {}
    for number, point in enumerate(points):
        root = folder / str(number)
        first = forked(partial(train, root, point))
        second = forked(partial(train, root, None))
        results[point] = {"first": first, "second": second}
        if (root / "result.json").exists():
            results[point] |= json.loads((root / "result.json").read_text())
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
