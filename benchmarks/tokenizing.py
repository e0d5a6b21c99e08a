"""JSON Lines to token shards on disk, whole processes on two cores, beside six peers.

    python -m benchmarks.tokenizing --data FILE.jsonl [--megabytes 90] [--rounds 3]

One vocabulary (cl100k pattern, 16,384 ids) learnt from the input; every round runs all methods in
turn. `python -m benchmarks.corpora FILE.jsonl` makes an input from what this machine holds.
"""

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer_environment import DEFAULT_FOLDER, environment, version_of
from benchmarks.processes import Spent, measure
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
from benchmarks.shared_input import Input, grown, prepare
from pipeline.store.errors import ConfigError, DataError, MillError
from pipeline.tokens.tokenizer import SPECIALS

CORES = 2
OURS = {"tiktoken": ["--engine", "tiktoken"], "gigatoken": []}
PEERS = {
    "pool": ("plain tiktoken, one process per file", "tiktoken"),
    "nanogpt": ("nanoGPT's prepare (datasets.map, memmap)", "datasets"),
    "hf_map": ("datasets.map, save_to_disk", "datasets"),
    "litdata": ("litdata optimize", "litdata"),
    "mds": ("MosaicML MDSWriter", "mosaicml-streaming"),
    "datatrove": ("datatrove DocumentTokenizer", "datatrove"),
}
LISTED = {"datatrove"}  # counted in files of its own; the others print or imply the same number
# It encodes with the Hugging Face form, where a special token's name in a text is that token. Each
# occurrence is then one token instead of at most as many as the name has bytes.
READS_MARKERS = {"datatrove"}
LONGEST_MARKER = max(map(len, SPECIALS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizing", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines: `text`, `id`")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="cache of environments")
    parser.add_argument("--megabytes", type=float, help="of text, at most (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=(), choices=tuple(PEERS))
    parser.add_argument("--quick", action="store_true", help="print only, 6 MB, one round")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    given = parser.parse_args(arguments)
    try:
        if importlib.util.find_spec("gigatoken") is None:
            raise ConfigError("the fast engine is missing; pip install gigatoken, then measure")
        measured = here(("tiktoken", "gigatoken", "pyarrow", "rustbpe"))
        if not (given.quick or given.no_write):
            require_clean(measured)
        with tempfile.TemporaryDirectory() as folder:
            rows, claims, versions = _measure(given, Path(folder))
        for row in rows:
            peer = f"  {row.peer} {median(row.theirs):.1f}" if row.theirs else ""
            print(f"{row.case:<44} {median(row.ours):8.1f} {row.unit}{peer}")
        for claim in claims:
            print(f"{'met ' if claim.met else 'MISSED'} {claim.claim}: {claim.value:.2f}")
        if not (given.quick or given.no_write):
            packages = {**measured.versions, **versions}
            named = type(measured)(measured.commit, measured.hardware, packages, measured.clean)
            print(write_result(Result("tokenizing", today(), named, rows, claims)))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(
    given: argparse.Namespace, folder: Path
) -> tuple[tuple[Row, ...], tuple[Claim, ...], Mapping[str, str]]:
    megabytes = given.megabytes or (6.0 if given.quick else 1e6)
    rounds = 1 if given.quick else given.rounds
    names = [name for name in PEERS if name not in given.without]
    pythons = {
        name: environment(given.peers, "streaming" if name == "mds" else "tokens") for name in names
    }
    whole = prepare(given.data, folder / "input", max_bytes=int(megabytes * 1e6))
    print(f"{whole.documents} documents, {whole.num_bytes / 1e6:.1f} MB", flush=True)
    tokenizer = folder / "tokenizer"
    bench = _Bench(whole, tokenizer, folder, pythons)
    bench.train()
    spent: dict[str, list[Spent]] = {name: [] for name in (*OURS, *names)}
    for number in range(rounds):
        for name in spent:
            spent[name].append(bench.run(name))
            print(f"round {number}: {name} {spent[name][-1].seconds:.1f} s", flush=True)
    size = whole.num_bytes / 1e6
    speed = {name: tuple(size / s.seconds for s in taken) for name, taken in spent.items()}
    ten = _Bench(grown(whole, folder / "grown", factor=10), tokenizer, folder, pythons)
    peaks = {n: (bench.peaks[n], ten.peak(n)) for n in OURS}
    rows = [
        Row(f"ours, {engine} ({PEERS[peer][0]})", "MB/s", speed[engine], "higher", PEERS[peer][0],
            speed[peer])
        for engine in OURS for peer in names
    ] + [
        Row(f"peak memory of the largest process, {engine}, ten times the text", "MB",
            (large / 1e6,), "lower", "the text once", (small / 1e6,))
        for engine, (small, large) in peaks.items()
    ] + [
        Row(f"tokens lost: names of special tokens in texts, {bench.markers} occurrences", "tokens",
            (0.0,), "lower", PEERS[name][0], (float(bench.lost[name]),), detail=True)
        for name in names if name in READS_MARKERS
    ]  # fmt: skip
    versions = {PEERS[n][1]: version_of(python, PEERS[n][1]) for n, python in pythons.items()}
    return tuple(rows), _claims(speed, names, peaks), versions


def _claims(
    speed: Mapping[str, Sequence[float]],
    names: Sequence[str],
    peaks: Mapping[str, tuple[int, int]],
) -> tuple[Claim, ...]:
    middle = {name: median(values) for name, values in speed.items()}
    claims = []
    if "pool" in middle:
        bound = middle["tiktoken"] / middle["pool"]
        fast = middle["gigatoken"] / middle["pool"]
        claims += [
            Claim("with tiktoken at least as fast as plain tiktoken", 1.0, bound, bound >= 1.0),
            Claim("with the fast engine at least 4 times plain tiktoken", 4.0, fast, fast >= 4.0),
        ]
    best = max(middle[name] for name in names)
    ratio = middle["gigatoken"] / best
    claims.append(Claim("with the fast engine faster than every peer", 1.0, ratio, ratio > 1.0))
    growth = max(large / small for small, large in peaks.values())
    claims.append(
        Claim("peak memory grows by at most 15 % with ten times the text", 1.15, growth,
              growth <= 1.15)
    )  # fmt: skip
    return tuple(claims)


class _Bench:
    """The methods over one input."""

    def __init__(
        self, whole: Input, tokenizer: Path, folder: Path, pythons: Mapping[str, Path]
    ) -> None:
        self.whole, self.tokenizer, self.folder, self.pythons = whole, tokenizer, folder, pythons
        self.tokens: int | None = None
        self.markers = _occurrences(whole.folder)
        self.lost: dict[str, int] = {}
        """How many tokens fewer than ours a method made, where that is explained by `markers`."""
        self.peaks: dict[str, int] = {}
        """Of the largest process of ours, in its last run."""

    def train(self) -> None:
        """The vocabulary, in a process of its own: its memory is not that of the measured ones."""
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.own_tokenize"]
        command += [self.whole.folder, self.folder / "out", self.tokenizer, "--train"]
        log = self.folder / "train.log"
        measure(command, cores=CORES, log=log, environment={}, directory=CHECKOUT)

    def peak(self, name: str) -> int:
        """Run a method of ours and say how much memory its largest process held."""
        self.run(name)
        return self.peaks[name]

    def run(self, name: str) -> Spent:
        """One method into an empty folder; DataError when its token count is not that of ours."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        log = self.folder / f"{name}.log"
        what: list[str | Path] = [self.whole.folder, out, self.tokenizer]
        if name in OURS:
            command = [sys.executable, "-m", "benchmarks.own_tokenize", *what, *OURS[name]]
        else:
            script = CHECKOUT / "benchmarks" / "peer_tokenize.py"
            command = [self.pythons[name], script, name, *what]
        quiet = {"HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "hf")}
        where = CHECKOUT if name in OURS else self.folder
        spent = measure(command, cores=CORES, log=log, environment=quiet, directory=where)
        self._check(name, out, log, spent)
        return spent

    def _check(self, name: str, out: Path, log: Path, spent: Spent) -> None:
        found: int | None = None
        if name in OURS:
            facts = json.loads((out / "facts.json").read_text())
            found = int(facts["tokens"])
            self.peaks[name] = max(int(facts["peak_bytes"]), spent.peak_bytes)
            if facts["engine"] != name:
                raise DataError(f"{name} was asked for, {facts['engine']} ran; install it")
        elif name in ("pool", "nanogpt"):
            found = int(log.read_text(encoding="utf-8", errors="replace").split()[-1])
        elif name in LISTED:
            size = sum(p.stat().st_size for p in (out / "tokens").glob("*.ds"))
            found = size // 2 - self.whole.documents
        self.tokens = self.tokens or found
        if found is not None and self.tokens is not None and name in READS_MARKERS:
            self.lost[name] = self.tokens - found
            if 0 <= self.lost[name] <= LONGEST_MARKER * self.markers:
                return
        if found is not None and found != self.tokens:
            raise DataError(f"{name} gave {found} tokens, ours are {self.tokens}")


def _occurrences(folder: Path) -> int:
    """How often the name of a special token stands in a text."""
    names = [name.encode() for name in SPECIALS]
    count = 0
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            count += sum(line.count(name) for line in file for name in names)
    return count


if __name__ == "__main__":
    sys.exit(main())
