"""Learning per second on the CPU: time to a loss on Shakespeare, losses on documentation.

    python -m benchmarks.train_loss                     write results/train_loss.json
    python -m benchmarks.train_loss --quick             few steps, printed only

Shakespeare at character level, split as nanoGPT does (the last tenth is validation): nanoGPT in the
CPU setting of its README (4 layers, width 128, 64 positions, 12 rows, 2,000 steps), then our best
configuration until it is as low. Losses are over the whole validation text, in rows of each one's
own context, with the clock stopped. With `--tokens SHARDS` (a tokens artifact) also the losses of
ours, nanoGPT and Hugging Face on the same ids after `--seconds`, each schedule ending there, and
with `--epochs` the best loss from the same few unique ids at so many passes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.peer_environment import DEFAULT_FOLDER, environment
from benchmarks.peer_sources import NANOGPT, SHAKESPEARE, checked, source_folder
from benchmarks.report import render
from benchmarks.results_file import (
    CHECKOUT,
    Claim,
    Measured,
    Result,
    Row,
    here,
    median,
    require_clean,
    today,
    write_result,
)
from benchmarks.train_arms import Shape
from benchmarks.train_cpu import OUR_ENVIRONMENT
from pipeline.artifacts import TokenShards
from pipeline.store.errors import DataError, MillError
from pipeline.tokens.shards import shard_paths

TARGET_SPEEDUP = 10.0
CURVE_COLUMNS = "text,who,round,seconds,validation_loss"
PUBLISHED_LOSS = 1.88  # nanoGPT's README, "I only have a macbook", its CPU setting
NANOGPT_SHAPE = Shape(layers=4, heads=4, width=128, context_length=64, rows=12, vocab_size=65)
NANOGPT_SETTINGS = {"learning_rate": 1e-3, "betas": [0.9, 0.99], "warmup_steps": 100}
NANOGPT_STEPS = 2000
# Chosen by the ablations of docs/lab-notes.md.
OUR_SHAPE = Shape(layers=2, heads=2, width=128, context_length=64, rows=16, vocab_size=65)
OUR_STEPS = 240
OUR_SETTINGS: dict[str, Any] = {
    "optimizer": {"kind": "muon"},
    "schedule": {"kind": "wsd", "warmup_fraction": 0.02, "decay_fraction": 0.5},
    "init": {"head_std": 0.001, "zero_outputs": True},
}
NAMES = {"ours": "ours", "nanogpt": "nanoGPT", "huggingface": "Hugging Face"}
PYDOCS_OURS = Shape(layers=3, heads=3, width=192, context_length=256, rows=16, vocab_size=4096)


@dataclass(frozen=True)
class Bench:
    """What every run is given."""

    python: Path
    nanogpt: Path
    folder: Path
    threads: int

    def run(self, data: Path, arm: str, shape: Shape, **job: Any) -> dict[str, Any]:
        """One training run in a process of its own; DataError if it fails."""
        file = self.folder / "job.json"
        given = {
            "data": str(data), "arm": arm, "shape": asdict(shape), "threads": self.threads,
            "nanogpt": str(self.nanogpt), "seed": 0, "evaluate_at": [], **job,
        }  # fmt: skip
        file.write_text(json.dumps(given), encoding="utf-8")
        # nanoGPT and Hugging Face get our environment too: it only makes them faster.
        done = subprocess.run(
            [str(self.python), "-m", "benchmarks.train_curves", str(file)], cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **OUR_ENVIRONMENT},
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise DataError(f"the run of {arm} ended with status {done.returncode}; see above")
        result: dict[str, Any] = json.loads(done.stdout)
        last = result["curve"][-1]
        print(
            f"{arm}: {last['step']} steps, {last['seconds']} s, validation "
            f"{last['validation_loss']:.4f}", file=sys.stderr,
        )  # fmt: skip
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_loss", description=__doc__)
    parser.add_argument("--data", type=Path, help="tinyshakespeare's input.txt")
    parser.add_argument("--tokens", type=Path, help="a tokens artifact of documentation")
    parser.add_argument("--seconds", type=float, nargs="*", default=[60.0])
    parser.add_argument("--epochs", type=int, nargs="*", default=[])
    parser.add_argument("--unique", type=int, default=200_000, help="ids for --epochs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="few steps, not written")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER)
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
        nanogpt = source_folder(given.peers, NANOGPT)
        if given.data is None:
            text = source_folder(given.peers, SHAKESPEARE) / SHAKESPEARE.file
        else:
            text = checked(given.data, SHAKESPEARE)
        python = environment(given.peers, "train")
        with tempfile.TemporaryDirectory() as temporary:
            bench = Bench(python, nanogpt, Path(temporary), given.threads)
            rows, claims, curves = shakespeare(
                bench, text, 1 if given.quick else given.rounds, quick=given.quick
            )
            if given.tokens is not None:
                data = ids_of(given.tokens, bench.folder)
                timed, more = equal_seconds(bench, data, given.seconds)
                rows += timed
                curves += "".join(more)
                rows += equal_data(bench, data, given.epochs, given.unique)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    versions = {**measured.versions, "nanoGPT": NANOGPT.commit[:12]}
    result = conclude(rows, claims, replace(measured, versions=versions))
    print(render([result], short=False))
    if not given.quick:
        path = write_result(result)
        path.with_name("train_loss_curves.csv").write_text(curves, encoding="utf-8")
        print(path)
    return 0


def shakespeare(
    bench: Bench, text: Path, rounds: int, *, quick: bool
) -> tuple[list[Row], list[Claim], str]:
    """Seconds of training until the loss of nanoGPT's last step, and until the published 1.88."""
    data = character_ids(text, bench.folder)
    steps, our_steps = (20, 10) if quick else (NANOGPT_STEPS, OUR_STEPS)
    theirs_at = list(range(100, steps, 100))
    ours_at = list(range(20, our_steps, 20))
    ours, theirs, ends, curves = [], [], [], [f"{CURVE_COLUMNS}\n"]
    for number in range(rounds):
        peer = bench.run(
            data, "nanogpt", NANOGPT_SHAPE, steps=steps, settings=NANOGPT_SETTINGS,
            dtype="float32", seed=number, evaluate_at=theirs_at,
        )  # fmt: skip
        own = bench.run(
            data, "ours", OUR_SHAPE, steps=our_steps, settings=OUR_SETTINGS, dtype="bfloat16",
            seed=number, evaluate_at=ours_at,
        )  # fmt: skip
        for who, result in (("nanoGPT", peer), ("ours", own)):
            curves += lines("shakespeare", who, number, result)
        last = peer["curve"][-1]
        reached = [c for c in own["curve"] if c["validation_loss"] <= last["validation_loss"]]
        ends.append((own["curve"][-1]["validation_loss"], last["validation_loss"]))
        if reached:
            ours.append(reached[0]["seconds"])
            theirs.append(last["seconds"])
    rows = [
        Row("Shakespeare by character, validation loss at the end", "nats",
            tuple(a for a, _ in ends), "lower", "nanoGPT, its CPU setting",
            tuple(b for _, b in ends)),
    ]  # fmt: skip
    speedup = 0.0
    if len(ours) == rounds:
        rows.append(
            Row("Shakespeare by character, training until nanoGPT's final loss", "s", tuple(ours),
                "lower", "nanoGPT, its CPU setting", tuple(theirs))
        )  # fmt: skip
        speedup = median([b / a for a, b in zip(ours, theirs, strict=True)])
    claim = Claim(
        f"nanoGPT's final validation loss on Shakespeare (published {PUBLISHED_LOSS}, here "
        f"{median([b for _, b in ends]):.3f}) in a fraction of its time: times faster",
        TARGET_SPEEDUP, speedup, speedup >= TARGET_SPEEDUP,
    )  # fmt: skip
    return rows, [claim], "".join(curves)


def lines(text: str, who: str, number: int, result: dict[str, Any]) -> list[str]:
    """A run's curve as lines of the CSV file."""
    return [
        f"{text},{who},{number},{point['seconds']},{point['validation_loss']:.4f}\n"
        for point in result["curve"]
    ]


def character_ids(text: Path, folder: Path) -> Path:
    """Ids by sorted character, first nine tenths and the rest: nanoGPT's prepare.py."""
    content = text.read_text(encoding="utf-8")
    places = {character: i for i, character in enumerate(sorted(set(content)))}
    ids = np.array([places[character] for character in content], dtype=np.uint16)
    cut = int(len(ids) * 0.9)
    path = folder / "shakespeare.npz"
    np.savez(path, train=ids[:cut], validation=ids[cut:])
    return path


def ids_of(artifact: Path, folder: Path, limit: int | None = None) -> Path:
    """All ids of a tokens artifact, document after document."""
    shards = TokenShards.open(artifact.absolute())
    arrays = []
    for split in ("train", "validation"):
        pieces = []
        for path in shard_paths(shards, split):  # type: ignore[arg-type]
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            pieces += [np.asarray(chunk.flatten()) for chunk in table["tokens"].chunks]
        arrays.append(np.concatenate(pieces)[: limit if split == "train" else None])
    path = folder / f"tokens-{limit or 'all'}.npz"
    np.savez(path, train=arrays[0], validation=arrays[1], vocab=np.array([shards.vocab_size]))
    return path


def equal_seconds(
    bench: Bench, data: Path, seconds: Sequence[float]
) -> tuple[list[Row], list[str]]:
    """Validation loss after the same training time on the same ids, schedules ending there."""
    rows, curves = [], []
    for limit in seconds:
        end = {}
        for arm in ("ours", "nanogpt", "huggingface"):
            settings = OUR_SETTINGS if arm == "ours" else {**NANOGPT_SETTINGS, "warmup_steps": 500}
            result = bench.run(
                data, arm, PYDOCS_OURS, steps=10**6, seconds=limit, settings=settings,
                dtype="bfloat16", ticks=10_000,
                evaluate_after=[limit * part / 6 for part in range(1, 6)],
            )  # fmt: skip
            end[arm] = result["curve"][-1]["validation_loss"]
            curves += lines(f"documentation {limit:.0f} s", NAMES[arm], 0, result)
        for peer in ("nanogpt", "huggingface"):
            rows.append(
                Row(f"documentation, validation loss after {limit:.0f} s", "nats per token",
                    (end["ours"],), "lower", f"{NAMES[peer]}, same shape, bfloat16", (end[peer],))
            )  # fmt: skip
    return rows, curves


def equal_data(bench: Bench, data: Path, epochs: Sequence[int], unique: int) -> list[Row]:
    """Lowest validation loss from the same unique ids after 1, 4, 16 passes."""
    if not epochs:
        return []
    arrays = np.load(data)
    few = bench.folder / "few.npz"
    np.savez(few, train=arrays["train"][:unique], validation=arrays["validation"])
    shape = replace(PYDOCS_OURS, rows=4)
    rows = []
    for passes in epochs:
        steps = max(1, unique * passes // shape.tokens)
        at = list(range(max(1, steps // 8), steps, max(1, steps // 8)))
        best = {}
        for arm in ("ours", "nanogpt"):
            settings = OUR_SETTINGS if arm == "ours" else NANOGPT_SETTINGS
            result = bench.run(
                few, arm, shape, steps=steps, settings=settings, dtype="bfloat16", evaluate_at=at
            )
            best[arm] = min(c["validation_loss"] for c in result["curve"])
        rows.append(
            Row(f"documentation, {unique:,} unique ids, {passes} passes: lowest validation loss",
                "nats per token", (best["ours"],), "lower", "nanoGPT, same shape",
                (best["nanogpt"],))
        )  # fmt: skip
    return rows


def conclude(rows: Sequence[Row], claims: Sequence[Claim], measured: Measured) -> Result:
    """The result file's content."""
    return Result("train_loss", today(), measured, tuple(rows), tuple(claims))


if __name__ == "__main__":
    sys.exit(main())
