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
from benchmarks.peer_environment import environment, version_of
from benchmarks.processes import Spent
from benchmarks.results_file import Claim, Result, Row, here, median, require_clean, today
from benchmarks.shared_input import Input, first_documents, prepare
from benchmarks.workspace import (
    Workspace,
    at_least,
    at_most,
    only_prints,
    parser_of,
    rounds_of,
    run_and_write,
    tell,
)

MEGABYTES, QUICK_MEGABYTES = 100.0, 4.0
SPEED, GOAL = 15.0, 40.0  # times datatrove per core
MEMORY_BYTES = 1e9
DOCUMENTS, QUICK_DOCUMENTS = (1_000_000, 4_000_000), (100_000, 200_000)
PEER = "datatrove-dedup"


@dataclass(frozen=True)
class Sides:
    """The commands that are compared."""

    space: Workspace
    peer_python: Path
    parity_python: Path

    def ours(self, data: Path, name: str, *options: str) -> Spent:
        """One run of our command, its output in `out/NAME`."""
        out, python = self.space.fresh(name), Path(sys.executable)
        return self.space.ours(python, "own_dedup", data, out, *options, name=name)

    def theirs(self, data: Path, name: str, *options: str) -> Spent:
        """One run of the peer's."""
        out = self.space.fresh(name)
        return self.space.theirs(self.peer_python, "peer_dedup.py", data, out, *options, name=name)

    def parity(self, data: Path, normalisation: Path, out: Path) -> Spent:
        """Our arithmetic on the peer's words and hashes."""
        arguments = (data, normalisation, out)
        return self.space.ours(self.parity_python, "dedup_parity", *arguments, name="parity")

    def comparison(self, documents: int) -> Spent:
        """The comparison alone, of made-up signatures."""
        folder, python = self.space.work / "made-up", Path(sys.executable)
        shutil.rmtree(folder, ignore_errors=True)
        make = ("make", folder, "--documents", str(documents))
        self.space.ours(python, "synthetic_signatures", *make, name="make")
        spent = self.space.ours(python, "synthetic_signatures", "merge", folder, name="merge")
        shutil.rmtree(folder)
        return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    given = parser_of("dedup", __doc__).parse_args(arguments)
    return run_and_write(given, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> Result:
    measured = here(("pyarrow", "numba", "numpy"))
    if not only_prints(given):
        require_clean(measured)
    megabytes = given.megabytes or (QUICK_MEGABYTES if given.quick else MEGABYTES)
    rounds = rounds_of(given)
    peer_python = environment(given.peers, PEER)
    versions = {p: version_of(peer_python, p) for p in ("datatrove", "spacy", "xxhash")}
    measured = replace(measured, versions={**measured.versions, **versions})
    with tempfile.TemporaryDirectory(prefix="gristmill-dedup-") as directory:
        space = Workspace(Path(directory))
        sides = Sides(space, peer_python, environment(given.peers, "spacy"))
        data = given.data
        if data is None:
            data = space.work / "machine.jsonl"
            write_corpus(machine_texts(), data, max_bytes=int(megabytes * 1e6))
        full = prepare(data, space.work / "full", max_bytes=int(megabytes * 1e6))
        print(f"{full.documents} documents, {full.num_bytes / 1e6:.1f} MB", file=sys.stderr)
        ours, theirs = _rounds(sides, full, rounds)
        rows = _speed_rows(ours, theirs, full)
        cluster_rows, same = _cluster_rows(sides, full)
        memory_rows = _memory_rows(sides, QUICK_DOCUMENTS if given.quick else DOCUMENTS)
    ratio = median([b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)])
    peak = max(row.ours[0] for row in memory_rows)
    memory = f"peak memory of comparing {DOCUMENTS[-1]:,} documents (MB)"
    claims = (
        at_least(f"MinHash, whole command >= {SPEED:.0f}x datatrove", SPEED, ratio),
        at_least(f"the goal, >= {GOAL:.0f}x", GOAL, ratio),
        Claim("parity mode, clusters equal to datatrove's (%)", 100.0, same, same == 100.0),
        at_most(memory, MEMORY_BYTES / 1e6, peak),
    )
    all_rows = (*rows, *cluster_rows, *memory_rows)
    return Result(given.name, today(), measured, all_rows, claims)


def _rounds(sides: Sides, full: Input, rounds: int) -> tuple[list[Spent], list[Spent]]:
    """Both sides in turns; which begins changes from round to round."""
    warm = first_documents(full, sides.space.work / "warm", count=40)
    sides.ours(warm.folder, "warm")
    ours: list[Spent] = []
    theirs: list[Spent] = []
    for number in range(rounds):
        for side in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            if side == "ours":
                spent = sides.ours(full.folder, side)
                ours.append(spent)
            else:
                spent = sides.theirs(full.folder, side)
                theirs.append(spent)
            tell(f"round {number + 1}, {side}", spent)
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


def _cluster_rows(sides: Sides, full: Input) -> tuple[list[Row], float]:
    """Clusters of the parity mode, and what our own words and the verification change."""
    sides.theirs(full.folder, "clusters", "--clusters")
    peer = peer_partition(sides.space.out("clusters"))
    out = sides.space.work / "parity.json"
    sides.parity(full.folder, sides.space.out("clusters") / "normalisation.json", out)
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
        sides.ours(full.folder, closure, "--closure", closure)
        own = own_partition(sides.space.out(closure))
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


def _memory_rows(sides: Sides, sizes: Sequence[int]) -> list[Row]:
    """Peak memory of the comparison alone."""
    rows = []
    for documents in sizes:
        spent = sides.comparison(documents)
        print(f"{documents} documents compared in {spent.seconds:.1f} s", file=sys.stderr)
        rows.append(
            Row(f"peak memory, {documents:,} documents compared", "MB",
                (spent.peak_bytes / 1e6,), "lower")
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
