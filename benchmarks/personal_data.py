"""Personal data measured: the same bytes as datatrove's PIIFormatter, how many times as fast.

    python -m benchmarks.personal_data --data FILE.jsonl  as made by `python -m benchmarks.corpora`
    python -m benchmarks.personal_data                    gathers this machine's text first
    python -m benchmarks.personal_data --quick            less of it; printed, never written
    python -m benchmarks.personal_data --cases OUT.json   the peer's answers that the tests use

Equality is asked of the whole text and of made-up strings of address-like pieces. Both sides look
for e-mail and public IPv4 addresses, in one process each, interleaved; seconds are processor time.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import orjson

from benchmarks.corpora import machine_texts, write_corpus
from benchmarks.peer_environment import DEFAULT_FOLDER, environment, version_of
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
from pipeline.corpus.document import TextBatch
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.store.errors import DataError, MillError

ROUNDS, BATCH = 5, 200
MIN_SPEED, MIN_RATIO = 100.0, 5.0
ADDRESSES = PersonalData(replace=("emails", "ips"))
_PEER = CHECKOUT / "benchmarks" / "peer_personal_data.py"
_PIECES = (
    "a b Z 0 1 2 5 9 25 255 256 100 199 04 . . . . @ @ - _ ! { [ ] : \n 中 é \u0301 ª ² ١ ß "
    "1.2.3.4 a@b.c 8.8.8.8 x.y @[1.2.3. 4] aa:] http://u:p@ex.am/ple 192.168.0.1 "
    "..a@b..c me+tag@co.uk"
).split(" ") + [" "]  # fmt: skip
_NEAR = re.compile(r".{0,40}(?:@|\d\.\d).{0,40}")


def made_up(count: int, seed: int) -> list[str]:
    """Strings of pieces that addresses are made of, most of them none."""
    rng = random.Random(seed)
    return ["".join(rng.choices(_PIECES, k=rng.randint(1, 24))) for _ in range(count)]


def cases(texts: Iterable[str]) -> list[str]:
    """What the stored answers are about: made-up strings, and places of real text."""
    near = sorted({match.group() for text in texts for match in _NEAR.finditer(text)})
    return made_up(250, seed=0) + random.Random(0).sample(near, min(150, len(near)))


def measure(texts: Sequence[str], python: Path, rounds: int) -> tuple[list[Row], list[Claim]]:
    """Rows and claims; DataError names the first text on which the two sides differ."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    ours: dict[str, list[float]] = {"addresses": [], "everything": []}
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="personal-data-") as name:
        folder = Path(name)
        for _ in range(rounds):
            ours["addresses"].append(size / _seconds(ADDRESSES, texts))
            theirs.append(size / formatted(texts, python, folder)[1])
            ours["everything"].append(size / _seconds(PersonalData(), texts))
        differing = _differing(texts, python, folder)
        fuzzed = made_up(100_000, seed=1)
        differing_fuzzed = _differing(fuzzed, python, folder)
    rows = [
        Row("e-mail and IP addresses", "MB/s", tuple(ours["addresses"]), "higher",
            "datatrove", tuple(theirs)),
        Row("all eight kinds", "MB/s", tuple(ours["everything"]), "higher"),
    ]  # fmt: skip
    ratio, speed = rows[0].ratio or 0.0, median(ours["everything"])
    return rows, [
        Claim(f"texts that differ from datatrove's, of {len(texts)} real ones", 0.0,
              float(differing), differing == 0),
        Claim(f"texts that differ from datatrove's, of {len(fuzzed)} made-up ones", 0.0,
              float(differing_fuzzed), differing_fuzzed == 0),
        Claim(f"addresses >= {MIN_RATIO:g}x datatrove", MIN_RATIO, ratio, ratio >= MIN_RATIO),
        Claim(f"all kinds >= {MIN_SPEED:g} MB/s a core", MIN_SPEED, speed, speed >= MIN_SPEED),
    ]  # fmt: skip


def formatted(texts: Sequence[str], python: Path, folder: Path) -> tuple[list[str], float]:
    """The peer's texts, and its processor seconds."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    done = subprocess.run(
        [str(python), str(_PEER), str(source), str(target)],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise DataError(f"the peer failed: {done.stderr.strip().splitlines()[-1:]}")
    with target.open("rb") as lines:
        return [orjson.loads(line)["formatted"] for line in lines], float(done.stdout)


def ours(texts: Sequence[str], step: PersonalData = ADDRESSES) -> list[str]:
    """Our texts, in batches of the size that cleaning uses."""
    found: list[str] = []
    _each(texts, lambda batch: found.extend(step.apply(batch).batch.texts))
    return found


def _each(texts: Sequence[str], do: Callable[[TextBatch], None]) -> None:
    for start in range(0, len(texts), BATCH):
        do(TextBatch.of(texts[start : start + BATCH]))


def _seconds(step: PersonalData, texts: Sequence[str]) -> float:
    step.apply(TextBatch.of(["warm up a@b.com 8.8.8.8 415-555-2671"]))
    spent = 0.0

    def timed(batch: TextBatch) -> None:
        nonlocal spent
        start = time.process_time()
        step.apply(batch)
        spent += time.process_time() - start

    _each(texts, timed)
    return spent


def _differing(texts: Sequence[str], python: Path, folder: Path) -> int:
    theirs = formatted(texts, python, folder)[0]
    return sum(mine != other for mine, other in zip(ours(texts), theirs, strict=True))


def _texts(data: Path | None, folder: Path, max_bytes: int) -> list[str]:
    if data is None:
        data = folder / "machine.jsonl"
        write_corpus(machine_texts(), data, max_bytes=max_bytes)
    texts: list[str] = []
    with data.open("rb") as lines:
        for line in lines:
            texts.append(orjson.loads(line)["text"])
            max_bytes -= len(texts[-1])
            if max_bytes < 0:
                break
    if not texts:
        raise DataError(f"{data} holds no text")
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write unless --quick; the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.personal_data", description=__doc__)
    parser.add_argument("--data", type=Path, help="JSON Lines with `text`")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--cases", type=Path, help="write the answers for the tests and stop")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if not options.quick and options.cases is None:
            require_clean(here())
        python = environment(options.peers, "datatrove")
        with tempfile.TemporaryDirectory(prefix="personal-data-") as name:
            texts = _texts(options.data, Path(name), 5_000_000 if options.quick else 30_000_000)
            if options.cases is not None:
                chosen = cases(texts)
                answers = formatted(chosen, python, Path(name))[0]
                rows = [{"text": a, "formatted": b} for a, b in zip(chosen, answers, strict=True)]
                options.cases.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
                return 0
        rows_, claims = measure(texts, python, 1 if options.quick else ROUNDS)
        measured = here(["numba", "numpy"])
        versions = {**measured.versions, "datatrove": version_of(python, "datatrove")}
        measured = type(measured)(measured.commit, measured.hardware, versions, measured.clean)
        result = Result("personal_data", today(), measured, tuple(rows_), tuple(claims))
        print(render([result], short=not options.quick))
        if not options.quick:
            print(write_result(result, RESULTS))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
