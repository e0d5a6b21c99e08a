"""Reading batches for training, one process: ours beside five peers, and how long a device waits.

    python -m benchmarks.loader [--tokens 20_000_000] [--rounds 3]

Made-up documents (log-normal lengths, median 500 tokens) of a vocabulary of 50,000: what is in a
token does not matter to a loader, only how many there are and where documents end.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_environment import DEFAULT_FOLDER, environment, version_of
from benchmarks.processes import pinned
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
from pipeline.store.errors import DataError, MillError
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.tokenizer import with_our_specials

PEERS = {
    "nanogpt": ("nanoGPT get_batch", "torch"), "litdata": ("litdata, shuffled", "litdata"),
    "mosaicml": ("MosaicML streaming, shuffled", "mosaicml-streaming"),
    "grain": ("grain MapDataset, shuffled", "grain"),
    "huggingface": ("datasets in a DataLoader, shuffled", "datasets"),
}  # fmt: skip
SLOW = {"mosaicml": 10, "huggingface": 4}  # a fraction of the batches is enough for these
VOCABULARY, SHARD_TOKENS = 50_000, 2_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--tokens", type=int, default=20_000_000)
    parser.add_argument("--batches", type=int, default=2_000, help="per repetition")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="cache of environments")
    parser.add_argument("--without", nargs="*", default=(), choices=tuple(PEERS))
    parser.add_argument("--quick", action="store_true", help="print only, 2 M tokens, one round")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    given = parser.parse_args(arguments)
    if given.quick:
        given.tokens, given.rounds, given.batches = 2_000_000, 1, 200
    try:
        measured = here(("torch", "pyarrow", "numpy"))
        if not (given.quick or given.no_write):
            require_clean(measured)
        with tempfile.TemporaryDirectory() as folder:
            rows, claims, versions = _measure(given, Path(folder))
        for row in rows:
            peer = f"  {row.peer} {median(row.theirs):.1f}" if row.theirs else ""
            print(f"{row.case:<52} {median(row.ours):10.2f} {row.unit}{peer}")
        for claim in claims:
            print(f"{'met ' if claim.met else 'MISSED'} {claim.claim}: {claim.value:.4f}")
        if not (given.quick or given.no_write):
            named = Measured(
                measured.commit, measured.hardware, {**measured.versions, **versions},
                measured.clean,
            )  # fmt: skip
            print(write_result(Result("loader", today(), named, rows, claims)))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(
    given: argparse.Namespace, folder: Path
) -> tuple[tuple[Row, ...], tuple[Claim, ...], dict[str, str]]:
    names = [name for name in PEERS if name not in given.without]
    pythons = {
        name: environment(given.peers, "streaming" if name == "mosaicml" else "tokens")
        for name in names
    }
    _write_shards(folder, given.tokens)
    own: list[dict[str, Any]] = []
    theirs: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(given.rounds):
        command = [sys.executable, "-m", "benchmarks.own_loader", folder / "shards", given.batches]
        own.append(json.loads(_output(command, CHECKOUT, cores=2)))
        for name in names:
            script = CHECKOUT / "benchmarks" / "peer_loader.py"
            count = max(20, given.batches // SLOW.get(name, 1))
            command = [pythons[name], script, name, folder / "stream.bin", folder / "peers", count]
            lines = _output(command, folder, cores=2).split()[-5:]
            theirs[name].append(median([float(line) for line in lines]))
            print(f"{name}: {theirs[name][-1]:.1f} us per batch", flush=True)
    ours = {
        mode: tuple(median(o[mode]) for o in own) for mode in ("windows", "packed", "documents")
    }
    rows = [
        Row("batch of 8 x 1,024, shuffled, with document boundaries", "us", ours["windows"],
            "lower", PEERS[name][0], tuple(theirs[name]))
        for name in names
    ] + [
        Row(f"batch of 8 x 1,024, {mode}", "us", ours[mode], "lower", detail=True)
        for mode in ("packed", "documents")
    ]  # fmt: skip
    waiting = tuple(100 * o["waiting"] for o in own)
    rows.append(Row("time a device of 1 M tokens/s waits for data", "%", waiting, "lower"))
    opening = tuple(1e3 * o["windows open"] for o in own)
    rows.append(
        Row("opening the shards, sampled verification", "ms", opening, "lower", detail=True)
    )
    best = min((median(values) for values in theirs.values()), default=float("inf"))
    ratio = best / median(ours["windows"])
    growth = max((o["memory"][1] - o["memory"][0]) / 1e6 for o in own)
    claims = (
        Claim("faster than every peer", 1.0, ratio, ratio > 1.0),
        Claim("waits at most 0.5 % of the time at 1 M tokens/s", 0.5, median(waiting),
              median(waiting) <= 0.5),
        Claim("own memory grows by at most 4 MB over all batches", 4.0, growth, growth <= 4.0),
    )  # fmt: skip
    versions = {PEERS[n][1]: version_of(python, PEERS[n][1]) for n, python in pythons.items()}
    return tuple(rows), claims, versions


def _write_shards(folder: Path, tokens: int) -> None:
    """Our shards of the made-up documents, and the same tokens as one flat file."""
    rng = np.random.default_rng(0)
    ranks = {i.to_bytes(4, "big"): i for i in range(VOCABULARY)}
    tokenizer = with_our_specials("measured", PATTERNS["cl100k"], ranks)
    made, number = 0, 0
    with (folder / "stream.bin").open("wb") as stream:
        while made < tokens:
            rows: list[TokenRow] = []
            size = 0
            while size < SHARD_TOKENS and made + size < tokens:
                length = int(np.clip(rng.lognormal(6.2, 1.3), 1, 100_000))
                ids = rng.integers(0, VOCABULARY, length, dtype=np.uint32)
                rows.append(TokenRow(f"{number}/{len(rows)}", "made up", ids))
                size += length + 2
                framed = (tokenizer.bos, *ids.tolist(), tokenizer.eos)
                stream.write(np.array(framed, np.uint16).tobytes())
            write_shard(folder / "shards" / f"train-{number:05d}.arrow", rows, tokenizer)
            made, number = made + size, number + 1


def _output(command: Sequence[object], directory: Path, *, cores: int) -> str:
    with pinned(cores):
        done = subprocess.run(
            [str(part) for part in command], cwd=directory, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    if done.returncode:
        raise DataError(f"{command[:3]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
