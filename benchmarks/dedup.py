"""Near-duplicate removal, ours against datatrove's four MinHash stages: speed, memory, clusters.

    python -m benchmarks.dedup                       100 MB of this machine's documentation
    python -m benchmarks.dedup --data PAGES.jsonl    other text, {"text": ..., "id": ...} a line
    python -m benchmarks.dedup --quick               one round on 4 MB, printed, never written

Both sides are whole commands, from JSON Lines to JSON Lines of kept documents, with 14 bands of 8
rows, word 5-grams and 64 bits, pinned to one core, in turns. Kernels are compiled before the clock
starts. The parity mode uses the peer's words, hashes and closure and must give its clusters.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.corpora import machine_texts, write_corpus
from benchmarks.dedup_clusters import (
    Partition,
    common_pairs,
    own_partition,
    parity_partition,
    peer_partition,
)
from benchmarks.peer_environment import DEFAULT_FOLDER, environment, version_of
from benchmarks.processes import Spent, measure
from benchmarks.report import render
from benchmarks.results_file import (
    CHECKOUT,
    RESULTS,
    Claim,
    Result,
    Row,
    here,
    median,
    require_clean,
    today,
    write_result,
)
from benchmarks.shared_input import Input, first_documents, prepare
from pipeline.store.errors import ConfigError, MillError

MEGABYTES, QUICK_MEGABYTES = 100.0, 4.0
SPEED, GOAL = 15.0, 40.0  # times datatrove per core
MEMORY_BYTES = 1e9
DOCUMENTS, QUICK_DOCUMENTS = (1_000_000, 4_000_000), (100_000, 200_000)
PEER = "datatrove-dedup"


@dataclass(frozen=True)
class Bench:
    """Where things lie while it runs."""

    work: Path
    peer_python: Path
    parity_python: Path

    def ours(self, data: Path, name: str, *options: str) -> Spent:
        """One run of our command, its output in `out/NAME`."""
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.own_dedup",
            data,
            self.fresh(name),
            *options,
        ]
        return self._run(command, name, CHECKOUT)

    def theirs(self, data: Path, name: str, *options: str) -> Spent:
        """One run of the peer's."""
        script = CHECKOUT / "benchmarks" / "peer_dedup.py"
        # -P: the other benchmarks beside the script must not pass for its modules.
        command: list[str | Path] = [self.peer_python, "-P", script, data, self.fresh(name)]
        return self._run([*command, *options], name, self.work)

    def parity(self, data: Path, normalisation: Path, out: Path) -> Spent:
        """Our arithmetic on the peer's words and hashes."""
        command: list[str | Path] = [
            self.parity_python,
            "-m",
            "benchmarks.dedup_parity",
            data,
            normalisation,
            out,
        ]
        return self._run(command, "parity", CHECKOUT)

    def comparison(self, documents: int) -> Spent:
        """The comparison alone, of made-up signatures."""
        folder = self.work / "made-up"
        shutil.rmtree(folder, ignore_errors=True)
        module = [sys.executable, "-m", "benchmarks.synthetic_signatures"]
        self._run([*module, "make", folder, "--documents", str(documents)], "make", CHECKOUT)
        spent = self._run([*module, "merge", folder], "merge", CHECKOUT)
        shutil.rmtree(folder)
        return spent

    def out(self, name: str) -> Path:
        """Where the run `name` wrote."""
        return self.work / "out" / name

    def fresh(self, name: str) -> Path:
        """The same, emptied."""
        shutil.rmtree(self.out(name), ignore_errors=True)
        return self.out(name)

    def _run(self, command: Sequence[str | Path], name: str, cwd: Path) -> Spent:
        environment = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        log = self.work / f"{name}.log"
        return measure(command, cores=1, log=log, environment=environment, directory=cwd)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup", description=__doc__)
    parser.add_argument("--data", type=Path, help="JSON Lines with `text` and `id`")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="cache of environments")
    parser.add_argument("--name", default="dedup", help="of the result file")
    parser.add_argument("--megabytes", type=float, help="of text, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="print only, 4 MB, one round")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    given = parser.parse_args(arguments)
    try:
        result = _measure(given)
        print(render([result], short=False))
        if not (given.quick or given.no_write):
            print(f"written: {write_result(result, RESULTS)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(given: argparse.Namespace) -> Result:
    measured = here(("pyarrow", "numba", "numpy"))
    if not (given.quick or given.no_write):
        require_clean(measured)
    megabytes = given.megabytes or (QUICK_MEGABYTES if given.quick else MEGABYTES)
    rounds = 1 if given.quick else given.rounds
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds} measures nothing; give 1 or more")
    peer_python = environment(given.peers, PEER)
    versions = {p: version_of(peer_python, p) for p in ("datatrove", "spacy", "xxhash")}
    measured = replace(measured, versions={**measured.versions, **versions})
    with tempfile.TemporaryDirectory(prefix="gristmill-dedup-") as directory:
        bench = Bench(Path(directory), peer_python, environment(given.peers, "spacy"))
        (bench.work / "out").mkdir()
        data = given.data
        if data is None:
            data = bench.work / "machine.jsonl"
            write_corpus(machine_texts(), data, max_bytes=int(megabytes * 1e6))
        full = prepare(data, bench.work / "full", max_bytes=int(megabytes * 1e6))
        print(f"{full.documents} documents, {full.num_bytes / 1e6:.1f} MB", file=sys.stderr)
        ours, theirs = _rounds(bench, full, rounds)
        rows = _speed_rows(ours, theirs, full)
        cluster_rows, same = _cluster_rows(bench, full)
        memory_rows = _memory_rows(bench, QUICK_DOCUMENTS if given.quick else DOCUMENTS)
    ratio = median([b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)])
    peak = max(row.ours[0] for row in memory_rows)
    claims = (
        Claim(f"MinHash, whole command >= {SPEED:.0f}x datatrove", SPEED, ratio, ratio >= SPEED),
        Claim(f"the goal, >= {GOAL:.0f}x", GOAL, ratio, ratio >= GOAL),
        Claim("parity mode, clusters equal to datatrove's (%)", 100.0, same, same == 100.0),
        Claim(
            f"peak memory of comparing {DOCUMENTS[-1]:,} documents (MB)", MEMORY_BYTES / 1e6,
            peak, peak <= MEMORY_BYTES / 1e6,
        ),
    )  # fmt: skip
    all_rows = (*rows, *cluster_rows, *memory_rows)
    return Result(given.name, today(), measured, all_rows, claims)


def _rounds(bench: Bench, full: Input, rounds: int) -> tuple[list[Spent], list[Spent]]:
    """Both sides in turns; which begins changes from round to round."""
    warm = first_documents(full, bench.work / "warm", count=40)
    bench.ours(warm.folder, "warm")
    ours: list[Spent] = []
    theirs: list[Spent] = []
    for number in range(rounds):
        for side in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            if side == "ours":
                spent = bench.ours(full.folder, side)
                ours.append(spent)
            else:
                spent = bench.theirs(full.folder, side)
                theirs.append(spent)
            print(
                f"round {number + 1}, {side}: {spent.seconds:.1f} s, {spent.cpu_seconds:.1f} s of "
                f"processor, {spent.peak_bytes / 1e6:.0f} MB",
                file=sys.stderr,
            )
    return ours, theirs


def _speed_rows(ours: Sequence[Spent], theirs: Sequence[Spent], full: Input) -> list[Row]:
    size = full.num_bytes / 1e6
    return [
        Row(
            "MinHash 14 x 8, word 5-grams, 64 bits, whole command, one core", "MB/s",
            tuple(size / run.seconds for run in ours), "higher", "datatrove",
            tuple(size / run.seconds for run in theirs),
        ),
        Row(
            "the same in processor time", "s", tuple(run.cpu_seconds for run in ours), "lower",
            "datatrove", tuple(run.cpu_seconds for run in theirs), detail=True,
        ),
        Row(
            "peak memory of MinHash", "MB", tuple(run.peak_bytes / 1e6 for run in ours), "lower",
            "datatrove", tuple(run.peak_bytes / 1e6 for run in theirs),
        ),
    ]  # fmt: skip


def _cluster_rows(bench: Bench, full: Input) -> tuple[list[Row], float]:
    """Clusters of the parity mode, and what our own words and the verification change."""
    bench.theirs(full.folder, "clusters", "--clusters")
    peer = peer_partition(bench.out("clusters"))
    out = bench.work / "parity.json"
    bench.parity(full.folder, bench.out("clusters") / "normalisation.json", out)
    parity = parity_partition(out)
    same = 100.0 * len(peer & parity) / max(len(peer | parity), 1)
    print(f"parity: {len(peer & parity)} of {len(peer | parity)} clusters equal", file=sys.stderr)
    rows = [
        Row(
            f"parity mode, of {len(peer | parity)} clusters equal to datatrove's", "%", (same,),
            "higher",
        )
    ]  # fmt: skip
    for closure in ("verified", "unverified"):
        bench.ours(full.folder, closure, "--closure", closure)
        own = own_partition(bench.out(closure))
        rows += _agreement_rows(closure, own, peer, full.documents)
    return rows, same


def _agreement_rows(closure: str, own: Partition, peer: Partition, documents: int) -> list[Row]:
    """How much of the corpus leaves, and how many pairs of one group both sides have."""
    mine, theirs, both = common_pairs(own, peer)
    leaving = 100.0 * sum(len(group) - 1 for group in own) / documents
    their_leaving = 100.0 * sum(len(group) - 1 for group in peer) / documents
    return [
        Row(
            f"documents that leave, own words, {closure} (datatrove: {their_leaving:.2f})", "%",
            (leaving,), "lower", detail=True,
        ),
        Row(
            f"of its {theirs} pairs in one group, ours too, {closure}", "%",
            (100.0 * both / max(theirs, 1),), "higher", detail=True,
        ),
        Row(
            f"of our {mine} pairs in one group, its too, {closure}", "%",
            (100.0 * both / max(mine, 1),), "higher", detail=True,
        ),
    ]  # fmt: skip


def _memory_rows(bench: Bench, sizes: Sequence[int]) -> list[Row]:
    """Peak memory of the comparison alone."""
    rows = []
    for documents in sizes:
        spent = bench.comparison(documents)
        print(f"{documents} documents compared in {spent.seconds:.1f} s", file=sys.stderr)
        rows.append(
            Row(f"peak memory, {documents:,} documents compared", "MB",
                (spent.peak_bytes / 1e6,), "lower")
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
