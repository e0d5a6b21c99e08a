"""Training on one GPU: speed, share of the peak, and losses after equal seconds.

    python -m benchmarks.train_gpu --data IDS.npz     write results/train_gpu.json
    python -m benchmarks.train_gpu --quick            a tiny shape on the CPU, printed only

GPT-2 small (12 layers, width 768, 1,024 positions, vocabulary 50,304), bfloat16, compiled: ours,
nanoGPT and Hugging Face, each in a process of its own, one after the other; median step of 100
after 20. With `--data` (an .npz of GPT-2 ids, `train` and `validation`) also the validation loss of
our best configuration, nanoGPT and modded-nanogpt's train_gpt_simple.py after 60, 120 and 180 s.
The share of the peak (MFU) is against 989 TFLOP/s, dense bfloat16 of H100 SXM and H200.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peer_sources import NANOGPT, TRAIN_GPT_SIMPLE, source_folder
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
from benchmarks.train_arms import Shape, gpt2_shape
from benchmarks.train_cpu import ask, process
from benchmarks.train_loss import NANOGPT_SETTINGS, OUR_SETTINGS
from pipeline.store.errors import ConfigError, DataError, MillError

GPT2_SMALL = Shape(layers=12, heads=12, width=768, context_length=1024, rows=32, vocab_size=50_304)
SMALL = Shape(layers=2, heads=2, width=64, context_length=32, rows=4, vocab_size=128)
PEAK_FLOPS = 989e12  # NVIDIA's data sheets of H100 SXM and H200: bfloat16 without sparsity
PEERS = ("nanogpt", "huggingface")
TARGETS = {"nanogpt": 1.10, "huggingface": 1.25}
TARGET_MFU, TARGET_FIRST_STEP = 0.45, 60.0
SKIPPED, COUNTED = 20, 100
# train_gpt_simple.py compiles its Muon by itself; a tiny check on the CPU need not wait for that.
UNCOMPILED = {"cpu": {"TORCHDYNAMO_DISABLE": "1"}, "cuda": {}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_gpu", description=__doc__)
    parser.add_argument("--data", type=Path, help=".npz of GPT-2 ids: train, validation")
    parser.add_argument("--seconds", type=float, nargs="*", default=[60.0, 120.0, 180.0])
    parser.add_argument("--quick", action="store_true", help="tiny, on the CPU, not written")
    parser.add_argument("--peers", type=Path, default=Path("~/.cache/gristmill-peers"))
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
            if not torch.cuda.is_available():
                raise ConfigError(
                    f"torch {torch.__version__} sees no GPU; run this where one is, or --quick"
                )
        nanogpt = source_folder(given.peers, NANOGPT)
        simple = source_folder(given.peers, TRAIN_GPT_SIMPLE)
        shape = SMALL if given.quick else GPT2_SMALL
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            job = {
                "shape": asdict(shape), "threads": torch.get_num_threads(), "keep_memory": False,
                "nanogpt": str(nanogpt), "device": "cpu" if given.quick else "cuda",
                "simple": str(simple / TRAIN_GPT_SIMPLE.file),
            }  # fmt: skip
            seconds, first = speeds(job, folder, quick=given.quick)
            losses = []
            if given.data is not None or given.quick:
                data = given.data or random_ids(folder, shape)
                limits = [1.0] if given.quick else given.seconds
                losses = equal_seconds(job, folder, data, shape, limits)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    result = conclude(seconds, first, losses, shape, measured)
    print(render([result], short=False))
    if not given.quick:
        print(write_result(result))
    return 0


def speeds(
    job: dict[str, Any], folder: Path, *, quick: bool
) -> tuple[dict[str, list[float]], float]:
    """Seconds per step of every arm, and from our imports to our first step (caches as found)."""
    skipped, counted = (1, 3) if quick else (SKIPPED, COUNTED)
    compiled = "" if quick else "-compiled"
    found: dict[str, list[float]] = {}
    first = float("nan")
    for name in ("ours", "ours-best", *PEERS):
        with process(Path(sys.executable), job, folder, {}) as child:
            begun = ask(child, name + compiled, "bfloat16", 1)
            if name == "ours":
                first = float(begun["since_import"])
            ask(child, name + compiled, "bfloat16", skipped)
            found[name] = ask(child, name + compiled, "bfloat16", counted)["seconds"]
        print(f"{name}: {median(found[name]) * 1000:.1f} ms per step", file=sys.stderr)
    return found, first


def equal_seconds(
    job: dict[str, Any], folder: Path, data: Path, shape: Shape, limits: Sequence[float]
) -> list[tuple[float, dict[str, float]]]:
    """Validation loss of each arm after each time of training, schedules ending there."""
    found = []
    for limit in limits:
        ends = {}
        for arm in ("ours", "nanogpt", "simple"):
            settings = OUR_SETTINGS if arm == "ours" else {**NANOGPT_SETTINGS, "warmup_steps": 200}
            file = folder / "curve.json"
            run = {
                **job, "data": str(data), "arm": arm, "shape": asdict(shape), "steps": 10**6,
                "seconds": limit, "ticks": 10_000, "settings": settings, "dtype": "bfloat16",
                "seed": 0, "evaluate_at": [], "compile": job["device"] != "cpu",
            }  # fmt: skip
            file.write_text(json.dumps(run), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.train_curves", str(file)], cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **UNCOMPILED[job["device"]]},
                stdout=subprocess.PIPE,
                text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise DataError(f"the run of {arm} ended with status {done.returncode}; see above")
            ends[arm] = float(json.loads(done.stdout)["curve"][-1]["validation_loss"])
            print(f"{arm} after {limit:.0f} s: {ends[arm]:.4f}", file=sys.stderr)
        found.append((limit, ends))
    return found


def random_ids(folder: Path, shape: Shape) -> Path:
    """Ids that show that the arms run, and nothing else."""
    path = folder / "random.npz"
    draws = np.random.default_rng(0).integers(shape.vocab_size, size=20_000).astype(np.uint16)
    np.savez(path, train=draws[:18_000], validation=draws[18_000:])
    return path


def conclude(
    seconds: dict[str, list[float]], first: float,
    losses: Sequence[tuple[float, dict[str, float]]], shape: Shape, measured: Measured,
) -> Result:  # fmt: skip
    """Rates, shares of the peak, losses, and what was promised."""
    rates = {name: tuple(shape.tokens / s for s in found) for name, found in seconds.items()}
    flops = gpt2_shape(shape, exact_gelu=True).flops_per_token()
    share = median(rates["ours"]) * flops / PEAK_FLOPS
    rows = [
        Row("GPT-2 small, bfloat16, compiled", "tokens/s", rates["ours"], "higher", peer,
            rates[peer])
        for peer in PEERS
    ]  # fmt: skip
    rows += [
        Row("our best configuration of that size", "tokens/s", rates["ours-best"], "higher"),
        Row("share of the peak (MFU)", "%", (100 * share,), "higher"),
        Row("first step after imports", "s", (first,), "lower"),
    ]
    claims = [
        Claim(f"times {peer}'s tokens per second", target, ratio, ratio >= target)
        for peer, target in TARGETS.items()
        for ratio in [median(rates["ours"]) / median(rates[peer])]
    ]
    claims += [
        Claim("share of the peak", TARGET_MFU, share, share >= TARGET_MFU),
        Claim("seconds to the first step", TARGET_FIRST_STEP, first, first <= TARGET_FIRST_STEP),
    ]
    for limit, ends in losses:
        for peer, name in (("simple", "train_gpt_simple.py"), ("nanogpt", "nanoGPT")):
            rows.append(
                Row(f"validation loss after {limit:.0f} s", "nats per token", (ends["ours"],),
                    "lower", name, (ends[peer],))
            )  # fmt: skip
        claims.append(
            Claim(f"validation loss after {limit:.0f} s no worse than train_gpt_simple.py's",
                  ends["simple"], ends["ours"], ends["ours"] <= ends["simple"])
        )  # fmt: skip
    return Result("train_gpu", today(), measured, tuple(rows), tuple(claims))


if __name__ == "__main__":
    sys.exit(main())
