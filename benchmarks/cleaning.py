"""FineWeb's filters, ours against datatrove's: speed per core, agreement, memory, two processes.

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
from benchmarks.shared_input import NUM_FILES, Input, first_documents, grown, prepare
from pipeline.store.errors import ConfigError, DataError, MillError

MEGABYTES, QUICK_MEGABYTES = 90.0, 4.0
OWN, PARITY = "own words", "spaCy's words"
WORDS = {OWN: "own", PARITY: "spacy"}
SPEED, PARITY_SPEED = 30.0, 3.0  # times datatrove per core
SAME_FATE, SAME_REASON = 0.99, 0.999
SCALING, MEMORY_BYTES, GROWTH = 1.8, 1e9, 1.1
LITTLE_BYTES = 40e6  # ours takes about 2 s for this, as much as for starting up
FACTOR = 10  # how much larger the corpus is on which memory must stay flat


@dataclass(frozen=True)
class Bench:
    """Where things lie while it runs."""

    work: Path
    peer_python: Path
    parity_python: Path
    """A Python that has spaCy beside our own packages."""

    def ours(self, data: Path, name: str, *, words: str = "own", workers: int = 1) -> Spent:
        """One run of our command, its output in `out/NAME`."""
        python = self.parity_python if words == "spacy" else Path(sys.executable)
        command: list[str | Path] = [
            python,
            "-m",
            "benchmarks.own_cleaning",
            data,
            self.fresh(name),
        ]
        command += ["--words", words, "--workers", str(workers)]
        return self._run(command, name, workers, CHECKOUT)

    def theirs(self, data: Path, name: str, *, tasks: int = 1) -> Spent:
        """One run of the peer's command."""
        # A copy: beside the original lie modules of ours that have names of Python's own.
        script = shutil.copy(CHECKOUT / "benchmarks" / "peer_cleaning.py", self.work)
        command: list[str | Path] = [self.peer_python, script, data, self.fresh(name)]
        command += ["--tasks", str(tasks)]
        return self._run(command, name, tasks, self.work)

    def extract(self, pages: Path, data: Path) -> None:
        """The main text of every page below a folder."""
        if not any(pages.rglob("*.htm*")):
            raise DataError(f"--pages {pages} holds no .html file")
        script = shutil.copy(CHECKOUT / "benchmarks" / "peer_pages.py", self.work)
        self._run([self.peer_python, script, pages, data], "extract", 1, self.work)

    def out(self, name: str) -> Path:
        """Where the run `name` wrote."""
        return self.work / "out" / name

    def fresh(self, name: str) -> Path:
        """The same, emptied."""
        shutil.rmtree(self.out(name), ignore_errors=True)
        return self.out(name)

    def _run(self, command: Sequence[str | Path], name: str, cores: int, cwd: Path) -> Spent:
        environment = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        log = self.work / f"{name}.log"
        return measure(command, cores=cores, log=log, environment=environment, directory=cwd)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cleaning", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--data", type=Path, help="JSON Lines with `text` and `id`")
    chosen.add_argument("--pages", type=Path, help="a folder of HTML files")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="cache of environments")
    parser.add_argument("--name", default="cleaning", help="of the result file")
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
    peer_python = environment(given.peers, "datatrove")
    versions = {p: version_of(peer_python, p) for p in ("datatrove", "spacy")}
    measured = replace(measured, versions={**measured.versions, **versions})
    with tempfile.TemporaryDirectory(prefix="gristmill-cleaning-") as directory:
        bench = Bench(Path(directory), peer_python, environment(given.peers, "spacy"))
        (bench.work / "out").mkdir()
        data = _data(bench, given, int(megabytes * 1e6))
        full = prepare(data, bench.work / "full", max_bytes=int(megabytes * 1e6))
        print(f"{full.documents} documents, {full.num_bytes / 1e6:.1f} MB", file=sys.stderr)
        if full.num_bytes < LITTLE_BYTES:
            print("so little text mostly measures starting up", file=sys.stderr)
        done = _rounds(bench, full, rounds)
        rows = _speed_rows(done, full) + _memory_rows(bench, full, done)
        rows += _scaling_rows(bench, full, rounds)
    for name, agreement in done.agreement.items():
        _print_differences(name, agreement)
    rows += _agreement_rows(done)
    return Result(given.name, today(), measured, tuple(rows), _claims(rows, done))


def _data(bench: Bench, given: argparse.Namespace, max_bytes: int) -> Path:
    """The JSON Lines to clean: given, extracted from pages, or collected here."""
    if given.data is not None:
        return Path(given.data)
    data = bench.work / "collected.jsonl"
    if given.pages is not None:
        bench.extract(Path(given.pages).resolve(), data)
    else:
        write_corpus(machine_texts(), data, max_bytes=max_bytes)
    return data


def _rounds(bench: Bench, full: Input, rounds: int) -> Rounds:
    """Every side in turns; which begins changes from round to round."""
    modes = list(WORDS)
    warm = first_documents(full, bench.work / "warm", count=40)
    for mode in modes:
        bench.ours(warm.folder, "warm", words=WORDS[mode])
    few = first_documents(full, bench.work / "few", count=NUM_FILES)
    starts = {mode: bench.ours(few.folder, "few", words=WORDS[mode]) for mode in modes}
    starts["theirs"] = bench.theirs(few.folder, "few")
    ours: dict[str, list[Spent]] = {mode: [] for mode in modes}
    theirs: list[Spent] = []
    for number in range(rounds):
        sides = ["theirs", *modes]
        for side in sides if number % 2 else sides[::-1]:
            if side == "theirs":
                theirs.append(bench.theirs(full.folder, side))
            else:
                ours[side].append(bench.ours(full.folder, side, words=WORDS[side]))
            spent = theirs[-1] if side == "theirs" else ours[side][-1]
            print(
                f"round {number + 1}, {side}: {spent.seconds:.1f} s, {spent.cpu_seconds:.1f} s of "
                f"processor, {spent.peak_bytes / 1e6:.0f} MB",
                file=sys.stderr,
            )
    decided = peer_decisions(bench.out("theirs"))
    agreement = {mode: compare(own_decisions(bench.out(mode)), decided) for mode in modes}
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


def _memory_rows(bench: Bench, full: Input, done: Rounds) -> list[Row]:
    """Peak memory at one size and at ten times that."""
    large = grown(full, bench.work / "large", factor=FACTOR)
    peak = bench.ours(large.folder, "large").peak_bytes / 1e6
    shutil.rmtree(bench.out("large"))
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


def _scaling_rows(bench: Bench, full: Input, rounds: int) -> list[Row]:
    """How many times as fast two processes are as one, on enough text that starting up is little.

    The peer scales by whole files too; the input consists of two of equal size.
    """
    large = grown(full, bench.work / "scaled", factor=4)
    ours, theirs = [], []
    for _ in range(rounds):
        one = bench.ours(large.folder, "one").seconds
        ours.append(one / bench.ours(large.folder, "two", workers=2).seconds)
    alone = bench.theirs(full.folder, "theirs-one").seconds
    theirs.append(alone / bench.theirs(full.folder, "theirs-two", tasks=2).seconds)
    return [
        Row("speed of 2 processes over 1", "times", tuple(ours), "higher", "datatrove",
            tuple(theirs))
    ]  # fmt: skip


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
    claims = [_at_least(f"default mode >= {SPEED:.0f}x datatrove per core", SPEED, speeds[OWN])]
    found = done.agreement[OWN]
    claims.append(
        _at_least("default mode, same keep or drop (%)", 100 * SAME_FATE, 100 * found.same_fate)
    )
    parity = done.agreement[PARITY]
    claims += [
        _at_least(f"parity mode >= {PARITY_SPEED:.0f}x", PARITY_SPEED, speeds[PARITY]),
        _at_least(
            "parity mode, same first reason (%)", 100 * SAME_REASON, 100 * parity.same_reason
        ),
    ]
    by_case = {row.case: median(row.ours) for row in rows}
    large = by_case[f"peak memory, corpus {FACTOR} times as large"]
    small = by_case[f"peak memory, {OWN}"]
    claims += [
        _at_most("peak memory of a worker (MB)", MEMORY_BYTES / 1e6, large),
        _at_most(f"peak memory at {FACTOR} times the corpus, times", GROWTH, large / small),
        _at_least("2 processes over 1", SCALING, by_case["speed of 2 processes over 1"]),
    ]
    return tuple(claims)


def _pairwise(done: Rounds, mode: str) -> float:
    """Median of the ratios, round by round."""
    pairs = zip(done.ours[mode], done.theirs, strict=True)
    return median([theirs.seconds / ours.seconds for ours, theirs in pairs])


def _at_least(claim: str, target: float, value: float) -> Claim:
    return Claim(claim, target, value, value >= target)


def _at_most(claim: str, target: float, value: float) -> Claim:
    return Claim(claim, target, value, value <= target)


if __name__ == "__main__":
    sys.exit(main())
