"""FineWeb's filters in two processes against one, beside what this machine gives any two processes.

    python -m benchmarks.cleaning_scaling                       four times 90 MB of documentation
    python -m benchmarks.cleaning_scaling --data PAGES.jsonl    other text, four times over
    python -m benchmarks.cleaning_scaling --peers DIR           where the peer's environment lies

Whole commands on the cores they may use, one and two in turns. Two cores of a virtual machine are
often two threads of one: a loop that needs nothing but a core, run once and then twice at a time,
says how much more two processes can do here at all. The peer gets a quarter of the text.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.corpora import machine_texts, write_corpus
from benchmarks.peer_environment import environment, version_of
from benchmarks.results_file import CHECKOUT, Result, Row, here, median, require_clean, today
from benchmarks.shared_input import grown, prepare
from benchmarks.workspace import (
    Workspace,
    at_least,
    only_prints,
    parser_of,
    rounds_of,
    run_and_write,
    tell,
)
from pipeline.store.errors import ConfigError

MEGABYTES, QUICK_MEGABYTES = 90.0, 4.0
FACTOR = 4
SCALING = 1.8
SHARE = SCALING / 2  # of what two processes can do
COUNTING = "x = 0\nfor i in range(30_000_000): x += i"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = parser_of("cleaning_scaling", __doc__)
    parser.add_argument("--no-peer", action="store_true", help="measure our side only")
    given = parser.parse_args(arguments)
    return run_and_write(given, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> Result:
    measured = here(("pyarrow", "numba", "numpy"))
    if not only_prints(given):
        require_clean(measured)
    if len(os.sched_getaffinity(0)) < 2:
        raise ConfigError("this process may use one core; two processes need two")
    rounds = rounds_of(given)
    max_bytes = int(1e6 * (given.megabytes or (QUICK_MEGABYTES if given.quick else MEGABYTES)))
    with tempfile.TemporaryDirectory(prefix="gristmill-scaling-") as directory:
        space = Workspace(Path(directory))
        data = given.data
        if data is None:
            data = space.work / "machine.jsonl"
            write_corpus(machine_texts(), data, max_bytes=max_bytes)
        full = prepare(data, space.work / "full", max_bytes=max_bytes)
        large = grown(full, space.work / "large", factor=FACTOR).folder
        ceilings, ours = [], []
        _ours(space, full.folder, 1)
        for _ in range(rounds):
            ceilings.append(_ceiling(space))
            ours.append(_ours(space, large, 1) / _ours(space, large, 2))
        theirs: tuple[float, ...] = ()
        if not given.no_peer:
            python = environment(given.peers, "datatrove")
            versions = {p: version_of(python, p) for p in ("datatrove", "spacy")}
            measured = replace(measured, versions={**measured.versions, **versions})
            one, two = (_theirs(space, python, full.folder, tasks) for tasks in (1, 2))
            theirs = (one / two,)
    peer = "datatrove" if theirs else None
    rows = (
        Row("speed of 2 processes over 1, cleaning", "times", tuple(ours), "higher", peer, theirs),
        Row("the same of a loop that only counts: this machine's limit", "times",
            tuple(ceilings), "higher"),
    )  # fmt: skip
    shares = [mine / limit for mine, limit in zip(ours, ceilings, strict=True)]
    claims = (
        at_least("2 processes over 1", SCALING, median(ours)),
        at_least("2 processes over 1, as a share of this machine's limit", SHARE, median(shares)),
    )
    return Result(given.name, today(), measured, rows, claims)


def _ours(space: Workspace, data: Path, workers: int) -> float:
    """Seconds of our command."""
    arguments = (data, space.fresh("ours"), "--workers", str(workers))
    spent = space.ours(Path(sys.executable), "own_cleaning", *arguments, name="ours", cores=workers)
    tell(f"ours, {workers}", spent)
    return spent.seconds


def _theirs(space: Workspace, python: Path, data: Path, tasks: int) -> float:
    """Seconds of the peer's; it divides the work by whole files, of which there are two."""
    arguments = (data, space.fresh("theirs"), "--tasks", str(tasks))
    spent = space.theirs(python, "peer_cleaning.py", *arguments, name="theirs", cores=tasks)
    tell(f"theirs, {tasks}", spent)
    return spent.seconds


def _ceiling(space: Workspace) -> float:
    """How many times as much two counting processes do as one."""
    command = [sys.executable, "-I", "-S", "-c", COUNTING]
    alone = space.run(command, "alone", 1, CHECKOUT).seconds
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(_count, command) for _ in range(2)]:
            future.result()
    ratio = 2 * alone / (time.perf_counter() - begin)
    print(f"a counting loop: {ratio:.2f} times as much", file=sys.stderr)
    return ratio


def _count(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
