"""Learning per second on the CPU: time to a loss on Shakespeare.

    python -m benchmarks.train_loss                     write results/train_loss.json
    python -m benchmarks.train_loss --minutes 10        write results/train_shakespeare.json
    python -m benchmarks.train_loss --quick             few steps, printed only

Shakespeare at character level, split as nanoGPT does (the last tenth is validation): nanoGPT in the
CPU setting of its README (4 layers, width 128, 64 positions, 12 rows, 2,000 steps), then our best
configuration until it is as low. Losses are over the whole validation text, in rows of each one's
own context, with the clock stopped. `--minutes`: a larger configuration of ours alone, its schedule
ending after so many minutes of training, against the loss that nanoGPT publishes for a GPU.
`benchmarks.train_documentation` measures on longer text.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_environment import DEFAULT_FOLDER, environment
from benchmarks.peer_sources import NANOGPT, SHAKESPEARE, checked, source_folder
from benchmarks.report import render
from benchmarks.results_file import (
    CHECKOUT,
    Claim,
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
from pipeline.store.errors import DataError, MillError

TARGET_SPEEDUP = 10.0
CURVE_COLUMNS = "text,who,round,seconds,validation_loss"
PUBLISHED_LOSS = 1.88  # nanoGPT's README, "I only have a macbook", its CPU setting
GPU_LOSS = 1.4697  # nanoGPT's README: best validation loss of its 10.6 M parameters on one A100
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
LONG_SHAPE = Shape(layers=4, heads=4, width=256, context_length=256, rows=16, vocab_size=65)
# About ten passes over a million characters: decay and dropout from the start; not swept.
LONG_SETTINGS = {**OUR_SETTINGS, "optimizer": {"kind": "muon", "weight_decay": 0.4}, "dropout": 0.1}
LONG_EVALUATIONS = 20


@dataclass(frozen=True)
class Bench:
    """What every run is given."""

    python: Path
    nanogpt: Path
    folder: Path
    threads: int

    def run(
        self, data: Path, arm: str, shape: Shape, *, variables: Mapping[str, str] | None = None,
        **job: Any,
    ) -> dict[str, Any]:  # fmt: skip
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
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **OUR_ENVIRONMENT,
                 **(variables or {})},
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--minutes", type=float, help="ours alone, until nanoGPT's loss on a GPU")
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
            if given.minutes:
                name = "train_shakespeare"
                rows, claims, curves = lowest(bench, text, given.minutes * 60)
            else:
                name = "train_loss"
                rows, claims, curves = shakespeare(
                    bench, text, 1 if given.quick else given.rounds, quick=given.quick
                )
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    versions = {
        **measured.versions, "nanoGPT": NANOGPT.commit[:12], "threads": str(given.threads)
    }  # fmt: skip
    result = Result(name, today(), replace(measured, versions=versions), tuple(rows), tuple(claims))
    print(render([result], short=False))
    if not given.quick:
        path = write_result(result)
        path.with_name(f"{name}_curves.csv").write_text(curves, encoding="utf-8")
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


def lowest(bench: Bench, text: Path, limit: float) -> tuple[list[Row], list[Claim], str]:
    """Seconds of our training until nanoGPT's loss on a GPU, and the lowest loss on the way."""
    data = character_ids(text, bench.folder)
    result = bench.run(
        data, "ours", LONG_SHAPE, steps=10**6, seconds=limit, settings=LONG_SETTINGS,
        dtype="bfloat16", ticks=10_000,
        evaluate_after=[limit * part / LONG_EVALUATIONS for part in range(1, LONG_EVALUATIONS)],
    )  # fmt: skip
    best = min(point["validation_loss"] for point in result["curve"])
    reached = [p["seconds"] for p in result["curve"] if p["validation_loss"] <= GPU_LOSS]
    rows = [
        Row(f"Shakespeare by character, {limit:.0f} s of training: lowest validation loss", "nats",
            (best,), "lower", "nanoGPT's published, on one A100", (GPU_LOSS,)),
    ]  # fmt: skip
    when = f"reached after {reached[0]:.0f} s" if reached else "not reached"
    claim = Claim(
        f"nanoGPT's published loss on a GPU within {limit:.0f} s on this machine: {when}",
        GPU_LOSS, best, best <= GPU_LOSS,
    )  # fmt: skip
    return rows, [claim], "".join(lines("shakespeare, long", "ours", 0, result))


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


if __name__ == "__main__":
    sys.exit(main())
