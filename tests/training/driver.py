"""Train in a process of its own and die on demand: `python -m tests.training.driver FOLDER POINT..`

Each POINT gets a root of its own, is killed there with SIGKILL (forked child, torch imported once),
and run again. A point is a moment, or `bert/MOMENT` or `t5/MOMENT` for masked LM or span corruption
instead of the next token. Prints one JSON object: per point how the first run ended, what the
second one made.
"""

import hashlib
import json
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.architectures import BertConfig, T5Config
from model.optim import AdamWConfig, MuonConfig, build_optimizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.files import sha256_file
from pipeline.tokens.tokenizer import MASK
from pipeline.training import build, checkpoint, loop
from pipeline.training.config import PretrainConfig
from tests.training.worlds import CONFIG, MODEL, RUNTIME, zen_world

UNDISTURBED = "nowhere"
KILLED_STEP = 7
SAVING = replace(RUNTIME, checkpoint_every_seconds=0.0)  # after every step
BERT = replace(
    CONFIG, model=BertConfig(width=32, layers=2, heads=2, hidden_width=64),
    prompts=(f"Beautiful is {MASK}etter",),
)  # fmt: skip
T5 = replace(
    CONFIG, model=T5Config(width=32, layers=2, heads=2, head_width=16, hidden_width=64),
    optimizer=MuonConfig(), prompts=("Beautiful is<extra_id_0>than ugly",),
)  # fmt: skip
FAMILIES: dict[str, tuple[PretrainConfig, dict[str, Any]]] = {
    "": (CONFIG, {}), "bert": (BERT, {"mask": True}), "t5": (T5, {"sentinels": 8}),
}  # fmt: skip
"""Per prefix of a point: what is trained, and which special tokens that needs."""


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
        loop.Trainer._step = dying_after(  # type: ignore[method-assign]
            loop.Trainer._step, KILLED_STEP
        )
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
        threading.Timer(wait, die).start()


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


def digest(arrays: Mapping[str, Any]) -> str:
    """The bytes of named arrays or tensors as one short hash."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        values = torch.as_tensor(array).detach().contiguous().reshape(-1)
        found.update(f"{name} {values.dtype} ".encode() + values.view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def watch(root: Path) -> None:
    """Write down each batch a step is given, and the optimiser's state at the end of training."""
    upcoming, finish = loop.upcoming, loop.Trainer._finish

    def written(source: Any, step: int, *, ahead: bool) -> Iterator[Any]:
        for at, arrays in enumerate(upcoming(source, step, ahead=ahead), step + 1):
            with (root / "batches.jsonl").open("a") as file:
                file.write(json.dumps([at, digest(arrays)]) + "\n")
            yield arrays

    def finished(self: loop.Trainer) -> dict[str, Any]:
        (root / "moments.txt").write_text(digest(self.optimizer.state_tensors()))
        return finish(self)

    loop.upcoming, loop.Trainer._finish = written, finished  # type: ignore[method-assign]


def train(root: Path, config: PretrainConfig, specials: Mapping[str, Any], point: str) -> None:
    """The whole stage, from making the shards to the sealed checkpoint."""
    root.mkdir(exist_ok=True)
    watch(root)
    arm(point)
    tokenizer, shards = zen_world(root, **specials)
    made = pretrain(config, shards, tokenizer, root=root, runtime=SAVING)
    lines = [json.loads(line) for line in (made.path / "curve.jsonl").open()]
    result = {
        "weights": sha256_file(made.weights_path),
        "moments": (root / "moments.txt").read_text(),
        "batches": sorted({tuple(json.loads(line)) for line in (root / "batches.jsonl").open()}),
        "fingerprint": made.fingerprint,
        "steps": [line["step"] for line in lines if "train_loss" in line],
        "losses": [line["train_loss"] for line in lines if "train_loss" in line],
        "validation": [line["validation_loss"] for line in lines if "validation_loss" in line],
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
        family, _, moment = point.rpartition("/")
        first = forked(partial(train, root, *FAMILIES[family], moment))
        second = forked(partial(train, root, *FAMILIES[family], UNDISTURBED))
        results[point] = {"first": first, "second": second}
        if (root / "result.json").exists():
            results[point] |= json.loads((root / "result.json").read_text())
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
