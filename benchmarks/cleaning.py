"""FineWeb's filters, ours against datatrove's: speed per core, agreement, memory.

    python -m benchmarks.cleaning                       90 MB of this machine's documentation
    python -m benchmarks.cleaning --data PAGES.jsonl    other text, {"text": ..., "id": ...} a line
    python -m benchmarks.cleaning --pages FOLDER        the main text of its HTML files
    python -m benchmarks.cleaning --quick               one round on 4 MB, printed, never written

Both sides are whole commands, from JSON Lines to files of kept and of rejected documents, pinned to
one core, in turns; the peer's environment is made below --peers. Text is repaired beforehand, so
that both read the same. Kernels are compiled before the clock starts (a first run on few
documents), as they are once per installation.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.agreement import Agreement, compare, own_decisions, peer_decisions
from benchmarks.corpora import machine_texts, write_corpus
from benchmarks.peer_environment import environment, version_of
from benchmarks.processes import Spent
from benchmarks.results_file import Claim, Result, Row, here, median, require_clean, today
from benchmarks.shared_input import NUM_FILES, Input, first_documents, grown, prepare
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
from pipeline.store.errors import ConfigError, DataError

MEGABYTES, QUICK_MEGABYTES = 90.0, 4.0
OWN, PARITY = "own words", "spaCy's words"
WORDS = {OWN: "own", PARITY: "spacy"}
SPEED, PARITY_SPEED = 30.0, 3.0  # times datatrove per core
SAME_FATE, SAME_REASON = 0.99, 0.999
MEMORY_BYTES, GROWTH = 1e9, 1.1
LITTLE_BYTES = 40e6  # ours takes about 2 s for this, as much as for starting up
FACTOR = 10  # how much larger the corpus is on which memory must stay flat


@dataclass(frozen=True)
class Sides:
    """The commands that are compared."""

    space: Workspace
    peer_python: Path
    parity_python: Path
    """A Python that has spaCy beside our own packages."""

    def ours(self, data: Path, name: str, *, words: str = "own") -> Spent:
        """One run of our command, its output in `out/NAME`."""
        python = self.parity_python if words == "spacy" else Path(sys.executable)
        out = self.space.fresh(name)
        return self.space.ours(python, "own_cleaning", data, out, "--words", words, name=name)

    def theirs(self, data: Path, name: str) -> Spent:
        """One run of the peer's command."""
        out = self.space.fresh(name)
        return self.space.theirs(self.peer_python, "peer_cleaning.py", data, out, name=name)

    def extract(self, pages: Path, data: Path) -> None:
        """The main text of every page below a folder."""
        if not any(pages.rglob("*.htm*")):
            raise DataError(f"--pages {pages} holds no .html file")
        self.space.theirs(self.peer_python, "peer_pages.py", pages, data, name="extract")


@dataclass(frozen=True)
class Rounds:
    """Runs of every side on one input, in turns."""

    ours: dict[str, list[Spent]]
    theirs: list[Spent]
    starts: dict[str, Spent]
    """The same commands on two documents: what starting up takes."""
    agreement: dict[str, Agreement]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = parser_of("cleaning", __doc__)
    parser.add_argument("--pages", type=Path, help="a folder of HTML files, in place of --data")
    given = parser.parse_args(arguments)
    return run_and_write(given, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> Result:
    if given.data is not None and given.pages is not None:
        raise ConfigError("--data and --pages are both given; give one of them")
    measured = here(("pyarrow", "numba", "numpy"))
    if not only_prints(given):
        require_clean(measured)
    megabytes = given.megabytes or (QUICK_MEGABYTES if given.quick else MEGABYTES)
    rounds = rounds_of(given)
    peer_python = environment(given.peers, "datatrove")
    versions = {p: version_of(peer_python, p) for p in ("datatrove", "spacy")}
    measured = replace(measured, versions={**measured.versions, **versions})
    with tempfile.TemporaryDirectory(prefix="gristmill-cleaning-") as directory:
        space = Workspace(Path(directory))
        sides = Sides(space, peer_python, environment(given.peers, "spacy"))
        data = _data(sides, given, int(megabytes * 1e6))
        full = prepare(data, space.work / "full", max_bytes=int(megabytes * 1e6))
        print(f"{full.documents} documents, {full.num_bytes / 1e6:.1f} MB", file=sys.stderr)
        if full.num_bytes < LITTLE_BYTES:
            print("so little text mostly measures starting up", file=sys.stderr)
        done = _rounds(sides, full, rounds)
        rows = _speed_rows(done, full) + _memory_rows(sides, full, done)
    for name, agreement in done.agreement.items():
        _print_differences(name, agreement)
    rows += _agreement_rows(done)
    return Result(given.name, today(), measured, tuple(rows), _claims(rows, done))


def _data(sides: Sides, given: argparse.Namespace, max_bytes: int) -> Path:
    """The JSON Lines to clean: given, extracted from pages, or collected here."""
    if given.data is not None:
        return Path(given.data)
    data = sides.space.work / "collected.jsonl"
    if given.pages is not None:
        sides.extract(Path(given.pages).resolve(), data)
    else:
        write_corpus(machine_texts(), data, max_bytes=max_bytes)
    return data


def _rounds(sides: Sides, full: Input, rounds: int) -> Rounds:
    """Every side in turns; which begins changes from round to round."""
    modes = list(WORDS)
    warm = first_documents(full, sides.space.work / "warm", count=40)
    for mode in modes:
        sides.ours(warm.folder, "warm", words=WORDS[mode])
    few = first_documents(full, sides.space.work / "few", count=NUM_FILES)
    starts = {mode: sides.ours(few.folder, "few", words=WORDS[mode]) for mode in modes}
    starts["theirs"] = sides.theirs(few.folder, "few")
    ours: dict[str, list[Spent]] = {mode: [] for mode in modes}
    theirs: list[Spent] = []
    for number in range(rounds):
        order = ["theirs", *modes]
        for side in order if number % 2 else order[::-1]:
            if side == "theirs":
                theirs.append(sides.theirs(full.folder, side))
            else:
                ours[side].append(sides.ours(full.folder, side, words=WORDS[side]))
            spent = theirs[-1] if side == "theirs" else ours[side][-1]
            tell(f"round {number + 1}, {side}", spent)
    decided = peer_decisions(sides.space.out("theirs"))
    agreement = {mode: compare(own_decisions(sides.space.out(mode)), decided) for mode in modes}
    return Rounds(ours, theirs, starts, agreement)


def _speed_rows(done: Rounds, full: Input) -> list[Row]:
    size = full.num_bytes / 1e6
    rows = []
    for mode, runs in done.ours.items():
        rows.append(
            Row(
                f"FineWeb filters, whole command, one core, {mode}", "MB/s",
                tuple(size / run.seconds for run in runs), "higher", "datatrove",
                tuple(size / run.seconds for run in done.theirs),
            )
        )  # fmt: skip
        beyond = _beyond_start(size, runs, done.starts[mode])
        if beyond:
            rows.append(
                Row(
                    f"the same beyond start-up, by processor time, {mode}", "MB/s", beyond,
                    "higher", "datatrove",
                    _beyond_start(size, done.theirs, done.starts["theirs"]), detail=True,
                )
            )  # fmt: skip
        rows.append(
            Row(
                f"the same in processor time, {mode}", "s",
                tuple(run.cpu_seconds for run in runs), "lower", "datatrove",
                tuple(run.cpu_seconds for run in done.theirs), detail=True,
            )
        )  # fmt: skip
    return rows


def _beyond_start(megabytes: float, runs: Sequence[Spent], start: Spent) -> tuple[float, ...]:
    """MB per processor second, those of starting up left out; empty where they are half or more."""
    beyond = [run.cpu_seconds - start.cpu_seconds for run in runs]
    if min(beyond) < start.cpu_seconds:
        return ()
    return tuple(megabytes / seconds for seconds in beyond)


def _memory_rows(sides: Sides, full: Input, done: Rounds) -> list[Row]:
    """Peak memory at one size and at ten times that."""
    large = grown(full, sides.space.work / "large", factor=FACTOR)
    peak = sides.ours(large.folder, "large").peak_bytes / 1e6
    shutil.rmtree(sides.space.out("large"))
    shutil.rmtree(large.folder)
    theirs = tuple(run.peak_bytes / 1e6 for run in done.theirs)
    rows = [
        Row(
            f"peak memory, {mode}", "MB", tuple(run.peak_bytes / 1e6 for run in runs),
            "lower", "datatrove", theirs, detail=mode != OWN,
        )
        for mode, runs in done.ours.items()
    ]  # fmt: skip
    return [*rows, Row(f"peak memory, corpus {FACTOR} times as large", "MB", (peak,), "lower")]


def _agreement_rows(done: Rounds) -> list[Row]:
    rows = []
    for mode, found in done.agreement.items():
        about = f"of {found.documents} documents, {found.kept} kept by the peer"
        rows += [
            Row(f"same keep or drop as datatrove, {mode}", "%", (100 * found.same_fate,), "higher"),
            Row(
                f"same first reason, {mode} ({about})", "%", (100 * found.same_reason,), "higher",
                detail=mode == OWN,
            ),
        ]  # fmt: skip
    return rows


def _print_differences(name: str, found: Agreement) -> None:
    print(
        f"{name}: {len(found.differences)} of {found.documents} decisions differ", file=sys.stderr
    )
    for kind, count in found.kinds():
        examples = [n for n, o, t in found.differences if f"{o} -> {t}" == kind][:3]
        print(f"  {count:5d}  {kind}   {', '.join(examples)}", file=sys.stderr)


def _claims(rows: Sequence[Row], done: Rounds) -> tuple[Claim, ...]:
    speeds = {mode: _pairwise(done, mode) for mode in done.ours}
    claims = [at_least(f"default mode >= {SPEED:.0f}x datatrove per core", SPEED, speeds[OWN])]
    found = done.agreement[OWN]
    claims.append(
        at_least("default mode, same keep or drop (%)", 100 * SAME_FATE, 100 * found.same_fate)
    )
    parity = done.agreement[PARITY]
    claims += [
        at_least(f"parity mode >= {PARITY_SPEED:.0f}x", PARITY_SPEED, speeds[PARITY]),
        at_least("parity mode, same first reason (%)", 100 * SAME_REASON, 100 * parity.same_reason),
    ]
    by_case = {row.case: median(row.ours) for row in rows}
    large = by_case[f"peak memory, corpus {FACTOR} times as large"]
    small = by_case[f"peak memory, {OWN}"]
    claims += [
        at_most("peak memory of a worker (MB)", MEMORY_BYTES / 1e6, large),
        at_most(f"peak memory at {FACTOR} times the corpus, times", GROWTH, large / small),
    ]
    return tuple(claims)


def _pairwise(done: Rounds, mode: str) -> float:
    """Median of the ratios, round by round."""
    pairs = zip(done.ours[mode], done.theirs, strict=True)
    return median([theirs.seconds / ours.seconds for ours, theirs in pairs])


if __name__ == "__main__":
    sys.exit(main())
