"""What benchmarks of whole commands share: where things lie, who runs them, what is asked for.

parser_of, run_and_write -> what is asked for; the measured Result printed and written
Workspace                -> runs of both sides, each with its output in a folder
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_environment import DEFAULT_FOLDER
from benchmarks.processes import Spent, measure
from benchmarks.report import render
from benchmarks.results_file import CHECKOUT, RESULTS, Claim, Result, write_result
from pipeline.store.errors import ConfigError, MillError

ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Workspace:
    """Where things lie while a benchmark runs."""

    work: Path

    def out(self, name: str) -> Path:
        """Where the run `name` wrote."""
        return self.work / "out" / name

    def fresh(self, name: str) -> Path:
        """The same, emptied."""
        shutil.rmtree(self.out(name), ignore_errors=True)
        self.out(name).parent.mkdir(parents=True, exist_ok=True)
        return self.out(name)

    def ours(
        self, python: Path, module: str, *arguments: str | Path, name: str, cores: int = 1
    ) -> Spent:
        """A module of this folder, run by `python`."""
        return self.run([python, "-m", f"benchmarks.{module}", *arguments], name, cores, CHECKOUT)

    def theirs(
        self, python: Path, script: str, *arguments: str | Path, name: str, cores: int = 1
    ) -> Spent:
        """A script of this folder, run by the peer's Python."""
        # A copy: beside the original lie modules of ours that have names of Python's own.
        copy = shutil.copy(CHECKOUT / "benchmarks" / script, self.work)
        return self.run([python, copy, *arguments], name, cores, self.work)

    def run(self, command: Sequence[str | Path], name: str, cores: int, cwd: Path) -> Spent:
        """Any command on so many cores, one thread in each of its processes."""
        log = self.work / f"{name}.log"
        return measure(command, cores=cores, log=log, environment=ONE_THREAD, directory=cwd)


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """The options that these benchmarks share."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="JSON Lines with `text` and `id`")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help="cache of environments")
    parser.add_argument("--name", default=module, help="of the result file")
    parser.add_argument("--megabytes", type=float, help="of text, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="little text, one round, print only")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    return parser


def rounds_of(given: argparse.Namespace) -> int:
    """How often to measure; ConfigError for less than once."""
    if given.rounds < 1:
        raise ConfigError(f"--rounds {given.rounds} measures nothing; give 1 or more")
    return 1 if given.quick else int(given.rounds)


def only_prints(given: argparse.Namespace) -> bool:
    """Whether no result file is wanted."""
    return bool(given.quick or given.no_write)


def run_and_write(given: argparse.Namespace, measured: Callable[[], Result]) -> int:
    """Measure, print and write; the exit code."""
    try:
        result = measured()
        print(render([result], short=False))
        if not only_prints(given):
            print(f"written: {write_result(result, RESULTS)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def tell(what: str, spent: Spent) -> None:
    """One line about one run."""
    print(
        f"{what}: {spent.seconds:.1f} s, {spent.cpu_seconds:.1f} s of processor, "
        f"{spent.peak_bytes / 1e6:.0f} MB",
        file=sys.stderr,
    )


def at_least(claim: str, target: float, value: float) -> Claim:
    """A claim met by `target` and more."""
    return Claim(claim, target, value, value >= target)


def at_most(claim: str, target: float, value: float) -> Claim:
    """A claim met by `target` and less."""
    return Claim(claim, target, value, value <= target)
