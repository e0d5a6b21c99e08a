"""Training speed on the CPU: ours beside nanoGPT, Hugging Face and litgpt, steps taken in turn.

    python -m benchmarks.train_cpu                    write results/train_cpu.json
    python -m benchmarks.train_cpu --quick            tiny shape, few steps, printed only

The shape is that of "config B": 6 layers, 6 heads, width 384, 256 positions, 16 rows, vocabulary
8,192. Everybody gets the same random ids, float32 weights and AdamW, and computes in float32 or
in bfloat16 (the peers through autocast). All share one process, which keeps freed memory and asks
for huge pages as our entry points do; the peers profit from that. "as shipped" is nanoGPT in a
process of its own, without that, in float32: its train.py has no autocast on a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import DEFAULT_FOLDER, environment, version_of
from benchmarks.peer_sources import NANOGPT, source_folder
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
from benchmarks.train_arms import CONFIG_B, TINY, Shape
from pipeline.store.errors import DataError, MillError

OURS, BEST = "ours", "ours-best"
PEERS = ("nanogpt", "huggingface", "litgpt")
COMPILED = "nanogpt-compiled"  # the best of the compiled ones; costs ours a C++ compiler
AS_SHIPPED = "nanogpt as shipped"
DTYPES = ("float32", "bfloat16")
TARGET_BEST_PEER, TARGET_AS_SHIPPED, TARGET_FIRST_STEP = 1.2, 3.3, 2.0
WARM_UP, FIRST_STEPS = 3, 3
# What flows/environment.py sets for every entry point of ours.
OUR_ENVIRONMENT = {
    "THP_MEM_ALLOC_ENABLE": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000",
}  # fmt: skip

Times = dict[tuple[str, str], list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_cpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="tiny shape, not written")
    parser.add_argument(
        "--peers", type=Path, default=DEFAULT_FOLDER,
        help="folder of the peers' environments and, below sources/, their code",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
        nanogpt = source_folder(given.peers, NANOGPT)
        python = environment(given.peers, "train")
        shape, rounds = (TINY, 2) if given.quick else (CONFIG_B, given.rounds)
        times, first = run(python, nanogpt, shape, rounds, given.threads)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    versions = {
        **measured.versions, "litgpt": version_of(python, "litgpt"), "nanoGPT": NANOGPT.commit[:12]
    }  # fmt: skip
    result = conclude(times, first, shape, replace(measured, versions=versions))
    print(render([result], short=False))
    if not given.quick:
        print(write_result(result))
    return 0


def run(
    python: Path, nanogpt: Path, shape: Shape, rounds: int, threads: int
) -> tuple[Times, list[float]]:
    """Seconds per step of every arm in every round, and from our imports to our first step.

    Each round begins with another arm, so that nobody always follows the same one.
    """
    with ExitStack() as stack, tempfile.TemporaryDirectory() as temporary:
        job = {"shape": asdict(shape), "threads": threads, "nanogpt": str(nanogpt)}
        first = first_steps(python, {**job, "keep_memory": True}, Path(temporary))
        shared = stack.enter_context(
            process(python, {**job, "keep_memory": True}, Path(temporary), OUR_ENVIRONMENT)
        )
        alone = stack.enter_context(
            process(python, {**job, "keep_memory": False}, Path(temporary), {})
        )
        turns = [(shared, name, dtype) for dtype in DTYPES for name in (OURS, *PEERS)]
        turns += [(shared, "ours-tanh", "bfloat16"), (shared, BEST, "bfloat16")]
        turns += [(shared, COMPILED, "bfloat16"), (alone, "nanogpt", "float32")]
        times: Times = {}
        for number in range(-1, rounds):
            begin = max(number, 0) % len(turns)
            for who, name, dtype in turns[begin:] + turns[:begin]:
                label = AS_SHIPPED if who is alone else name
                seconds = ask(who, name, dtype, WARM_UP if number < 0 else 1)["seconds"]
                if number >= 0:
                    times.setdefault((label, dtype), []).extend(seconds)
                print(f"{number:3} {label:24} {dtype:9} {seconds[-1]:.3f} s", file=sys.stderr)
    return times, first


def first_steps(python: Path, job: dict[str, Any], folder: Path) -> list[float]:
    """Seconds from the end of the imports to the end of the first step, in new processes."""
    found = []
    for _ in range(FIRST_STEPS):
        with process(python, job, folder, OUR_ENVIRONMENT) as child:
            found.append(float(ask(child, OURS, "bfloat16", 1)["since_import"]))
    return found


@contextmanager
def process(
    python: Path, job: dict[str, Any], folder: Path, variables: dict[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """A waiting process that holds trainers; ended on leaving."""
    file = folder / f"job-{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    child = subprocess.Popen(
        [str(python), "-m", "benchmarks.train_turns", str(file)], cwd=CHECKOUT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **variables},
    )  # fmt: skip
    try:
        answer(child)
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def ask(child: "subprocess.Popen[str]", name: str, dtype: str, steps: int) -> dict[str, Any]:
    """Let one arm take some steps."""
    assert child.stdin is not None
    child.stdin.write(f"{name} {dtype} {steps}\n")
    child.stdin.flush()
    return answer(child)


def answer(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line of a process; DataError if it ended instead."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise DataError(f"a training process ended with status {child.wait()}; see above")
    found: dict[str, Any] = json.loads(line)
    return found


def conclude(times: Times, first: Sequence[float], shape: Shape, measured: Measured) -> Result:
    """Rates and claims; each claim is the median over rounds of the ratio within a round."""
    rates = {key: tuple(shape.tokens / s for s in seconds) for key, seconds in times.items()}
    ours = rates[OURS, "bfloat16"]
    rows = [
        Row(f"config B, GPT-2 shape, {dtype}", "tokens/s", rates[OURS, dtype], "higher", peer,
            rates[peer, dtype])
        for dtype in DTYPES for peer in PEERS
    ]  # fmt: skip
    rows += [
        Row("config B, GPT-2 shape, bfloat16", "tokens/s", ours, "higher",
            "nanoGPT as shipped (float32)", rates[AS_SHIPPED, "float32"]),
        Row("config B, GPT-2 shape, bfloat16", "tokens/s", ours, "higher",
            "nanoGPT compiled", rates[COMPILED, "bfloat16"]),
        Row("config B, our tanh GELU, bfloat16", "tokens/s", rates["ours-tanh", "bfloat16"],
            "higher", "huggingface", rates["huggingface", "bfloat16"], detail=True),
        Row("config B, our best shape with Muon, bfloat16", "tokens/s", rates[BEST, "bfloat16"],
            "higher", detail=True),
        Row("first step of ours after its imports", "s", tuple(first), "lower"),
    ]  # fmt: skip
    eager = max(PEERS, key=lambda peer: median(rates[peer, "bfloat16"]))
    peers = rates[eager, "bfloat16"]
    fastest = [max(pair) for pair in zip(peers, rates[COMPILED, "bfloat16"], strict=True)]
    claims = (
        _at_least(f"bfloat16 with float32 weights, times the best peer's speed ({eager})",
                  TARGET_BEST_PEER, _times(ours, peers)),
        _at_least("times the best peer's speed, peers compiled too", TARGET_BEST_PEER,
                  _times(ours, fastest)),
        _at_least("times nanoGPT's speed as shipped", TARGET_AS_SHIPPED,
                  _times(ours, rates[AS_SHIPPED, "float32"])),
        Claim("seconds from our imports to the end of the first step", TARGET_FIRST_STEP,
              median(first), median(first) <= TARGET_FIRST_STEP),
    )  # fmt: skip
    return Result("train_cpu", today(), measured, tuple(rows), claims)


def _times(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Ratio of rates, round by round: what slows a round down slows both."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def _at_least(claim: str, target: float, value: float) -> Claim:
    return Claim(claim, target, value, value >= target)


if __name__ == "__main__":
    sys.exit(main())
