"""Learning on documentation, on the CPU: bits per byte after equal seconds, and from equal data.

    python -m benchmarks.train_documentation --tokens SHARDS --seconds 60
    python -m benchmarks.train_documentation --tokens SHARDS --epochs 1 4 16 --unique 50000

SHARDS is a tokens artifact. `--seconds`: ours, nanoGPT and Hugging Face in one shape and bfloat16
on the same ids, each schedule ending after so many seconds of training
(results/train_documentation_60s.json). `--epochs`: the lowest held-out loss of whole schedules over
the same few ids at so many passes, against nanoGPT and modded-nanogpt's train_gpt_simple.py
(results/train_epochs.json). Bits per byte count every validation id, bos and eos too.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.peer_environment import DEFAULT_FOLDER, environment
from benchmarks.peer_sources import NANOGPT, TRAIN_GPT_SIMPLE, source_folder
from benchmarks.report import render
from benchmarks.results_file import (
    Claim,
    Result,
    Row,
    here,
    require_clean,
    today,
    write_result,
)
from benchmarks.train_arms import Shape
from benchmarks.train_loss import CURVE_COLUMNS, NANOGPT_SETTINGS, OUR_SETTINGS, Bench, lines
from model.settings import settings_to_dict
from pipeline.artifacts import TokenShards
from pipeline.store.errors import ConfigError, MillError
from pipeline.tokens.shards import shard_paths
from pipeline.training.scaling import auto_dropout, auto_optimizer

NAMES = {
    "ours": "ours", "nanogpt": "nanoGPT", "huggingface": "Hugging Face",
    "simple": "train_gpt_simple.py",
}  # fmt: skip
SHAPE = Shape(layers=3, heads=3, width=192, context_length=256, rows=16, vocab_size=4096)
# Heads of train_gpt_simple.py are 128 wide, so its width is a multiple of that.
FEW = Shape(layers=4, heads=2, width=128, context_length=256, rows=4, vocab_size=4096)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_documentation", description=__doc__
    )
    parser.add_argument("--tokens", type=Path, required=True, help="a tokens artifact")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seconds", type=int)
    chosen.add_argument("--epochs", type=int, nargs="+", default=[])
    parser.add_argument("--unique", type=int, default=50_000, help="ids for --epochs")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="printed only")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER)
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
        nanogpt = source_folder(given.peers, NANOGPT)
        with tempfile.TemporaryDirectory() as temporary:
            bench = Bench(
                environment(given.peers, "train"), nanogpt, Path(temporary), given.threads
            )
            data, scale = ids_of(given.tokens, bench.folder)
            if given.seconds:
                name = f"train_documentation_{given.seconds}s"
                rows, claims, curves = equal_seconds(bench, data, scale, given.seconds)
            else:
                name = "train_epochs"
                simple = source_folder(given.peers, TRAIN_GPT_SIMPLE) / TRAIN_GPT_SIMPLE.file
                rows, claims, curves = equal_data(
                    bench, data, scale, given.epochs, given.unique, simple
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
        path.with_name(f"{name}_curves.csv").write_text(
            f"{CURVE_COLUMNS}\n{''.join(curves)}", encoding="utf-8"
        )
        print(path)
    return 0


def ids_of(artifact: Path, folder: Path) -> tuple[Path, float]:
    """All ids of a tokens artifact, document after document; and bits per byte of a nat per id."""
    shards = TokenShards.open(artifact.absolute())
    arrays = []
    for split in ("train", "validation"):
        pieces = []
        for path in shard_paths(shards, split):  # type: ignore[arg-type]
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            pieces += [np.asarray(chunk.flatten()) for chunk in table["tokens"].chunks]
        if not pieces:
            raise ConfigError(f"{artifact} has no {split} shard; name another tokens artifact")
        arrays.append(np.concatenate(pieces))
    path = folder / "tokens.npz"
    np.savez(path, train=arrays[0], validation=arrays[1])
    ids_per_byte = (len(arrays[1]) - 1) / float(shards.facts["validation_bytes"])
    return path, ids_per_byte / math.log(2)


def equal_seconds(
    bench: Bench, data: Path, scale: float, limit: int
) -> tuple[list[Row], list[Claim], list[str]]:
    """Bits per byte after the same training time on the same ids, schedules ending there."""
    curves, end = [], {}
    for arm in ("ours", "nanogpt", "huggingface"):
        settings = OUR_SETTINGS if arm == "ours" else {**NANOGPT_SETTINGS, "warmup_steps": 500}
        result = bench.run(
            data, arm, SHAPE, steps=10**6, seconds=limit, settings=settings,
            dtype="bfloat16", ticks=10_000,
            evaluate_after=[limit * part / 6 for part in range(1, 6)],
        )  # fmt: skip
        end[arm] = scale * result["curve"][-1]["validation_loss"]
        curves += lines(f"documentation {limit} s", NAMES[arm], 0, result)
    rows = [
        Row(f"documentation, validation after {limit} s", "bits per byte", (end["ours"],), "lower",
            f"{NAMES[peer]}, same shape, bfloat16", (end[peer],))
        for peer in ("nanogpt", "huggingface")
    ]  # fmt: skip
    best = min(end["nanogpt"], end["huggingface"])
    claim = Claim(
        f"bits per byte after {limit} s no worse than the better peer's", best, end["ours"],
        end["ours"] <= best,
    )  # fmt: skip
    return rows, [claim], curves


def documents_drawn(ids: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Whole documents in random order until `count` ids; the last one is cut.

    The first documents of an artifact are its first source's: the validation text is of all.
    """
    starts = np.flatnonzero(ids == ids[0])  # every document opens with bos
    ends = np.append(starts[1:], len(ids))
    order = np.random.default_rng(seed).permutation(len(starts))
    return np.concatenate([ids[starts[i] : ends[i]] for i in order])[:count]


def regularised(passes: float) -> dict[str, Any]:
    """What `size: auto` sets for so many passes over the text, at the width of its rates."""
    optimizer = settings_to_dict(auto_optimizer(3, epochs=passes))
    return {"optimizer": optimizer, "dropout": auto_dropout(passes)}


def equal_data(
    bench: Bench, data: Path, scale: float, epochs: Sequence[int], unique: int, simple: Path
) -> tuple[list[Row], list[Claim], list[str]]:
    """Lowest bits per byte from the same `unique` ids, a whole schedule per number of passes."""
    arrays = np.load(data)
    few = bench.folder / "few.npz"
    np.savez(few, train=documents_drawn(arrays["train"], unique), validation=arrays["validation"])
    rows, claims, curves = [], [], []
    for passes in epochs:
        steps = max(1, unique * passes // FEW.tokens)
        every = max(1, steps // 8)
        settings: dict[str, dict[str, Any]] = {
            "ours": {**OUR_SETTINGS, **regularised(passes)},
            "nanogpt": {**NANOGPT_SETTINGS, "warmup_steps": max(1, steps // 20)},
            "simple": {},
        }
        best = {}
        for arm in settings:
            result = bench.run(
                few, arm, FEW, steps=steps, settings=settings[arm], dtype="bfloat16",
                evaluate_at=list(range(every, steps, every)), simple=str(simple),
                # It compiles its Muon by itself, which a run of minutes does not earn back.
                variables={"TORCHDYNAMO_DISABLE": "1"},
            )  # fmt: skip
            best[arm] = scale * min(point["validation_loss"] for point in result["curve"])
            curves += lines(f"{unique} ids {passes} passes", NAMES[arm], 0, result)
        for peer in ("nanogpt", "simple"):
            rows.append(
                Row(f"{unique:,} unique ids, {passes} passes: lowest validation", "bits per byte",
                    (best["ours"],), "lower", f"{NAMES[peer]}, same size", (best[peer],))
            )  # fmt: skip
        lowest = min(best["nanogpt"], best["simple"])
        claims.append(
            Claim(f"bits per byte from {unique:,} ids in {passes} passes no worse than the better "
                  "peer's", lowest, best["ours"], best["ours"] <= lowest)
        )  # fmt: skip
    return rows, claims, curves


if __name__ == "__main__":
    sys.exit(main())
