"""A million made-up documents through the stage `tokenize`, and the memory it takes over time.

    python -m benchmarks.million_documents [--documents 1_000_000]

The stage runs in a process of its own with two workers; the resident memory of all its processes is
looked at four times a second. Text is drawn from a vocabulary of 20,000 made-up words.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.results_file import (
    CHECKOUT,
    Claim,
    Result,
    Row,
    here,
    require_clean,
    today,
    write_result,
)
from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import removed_name
from pipeline.corpus.document import DOCUMENT_SCHEMA
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import DataError, MillError
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime

WORDS, BATCH = 20_000, 1_000
LOOK_SECONDS = 0.25
WORKERS = 2


@dataclass(frozen=True)
class Curve:
    """What one run took."""

    documents: int
    num_bytes: int
    tokens: int
    seconds: float
    memory: tuple[tuple[float, float, float], ...]
    """(seconds since the start, MB of the largest process, MB of all) at each look."""

    @property
    def peak(self) -> float:
        """MB of the largest process."""
        return max(largest for _, largest, _ in self.memory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million_documents", description=__doc__
    )
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="print only, 50,000 documents")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.stage:
        return _stage(given.stage)
    try:
        measured = here(("pyarrow", "tiktoken"))
        writes = not (given.quick or given.no_write)
        if writes:
            require_clean(measured)
        count = 50_000 if given.quick else given.documents
        with tempfile.TemporaryDirectory() as folder:
            curves = [run(n, Path(folder) / str(n)) for n in (count // 10, count)]
        for curve in curves:
            print(shown(curve))
        rows, claims = _outcome(*curves)
        for claim in claims:
            print(f"{'met ' if claim.met else 'MISSED'} {claim.claim}: {claim.value:.2f}")
        if writes:
            print(write_result(Result("million_documents", today(), measured, rows, claims)))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(count: int, root: Path) -> Curve:
    """Make a corpus of `count` documents below `root` and tokenize it."""
    num_bytes = _corpus(count, root)
    command = [sys.executable, "-m", "benchmarks.million_documents", "--stage", str(root)]
    started = time.perf_counter()
    child = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    memory = []
    while child.poll() is None:
        sizes = [size / 1e6 for size in _resident(child.pid)]
        if sizes:
            memory.append((time.perf_counter() - started, max(sizes), sum(sizes)))
        time.sleep(LOOK_SECONDS)
    assert child.stdout is not None
    said = child.stdout.read()
    if child.returncode:
        raise DataError(f"the stage ended with status {child.returncode}: {said[-500:]}")
    facts = json.loads(said.splitlines()[-1])
    if facts["documents"] != count:
        raise DataError(f"{facts['documents']} of {count} documents arrived")
    return Curve(count, num_bytes, facts["tokens"], facts["seconds"], tuple(memory))


def shown(curve: Curve, points: int = 12) -> str:
    """The curve for people, thinned out."""
    every = max(1, len(curve.memory) // points)
    lines = [
        f"{curve.documents:,} documents, {curve.num_bytes / 1e6:.0f} MB, {curve.tokens:,} tokens "
        f"in {curve.seconds:.1f} s; peak of a process {curve.peak:.0f} MB"
    ]
    lines += [
        f"{at:8.1f} s  {largest:6.0f} MB largest  {total:6.0f} MB in all"
        for at, largest, total in curve.memory[::every]
    ]
    return "\n".join(lines)


def _outcome(small: Curve, large: Curve) -> tuple[tuple[Row, ...], tuple[Claim, ...]]:
    name = f"{large.documents:,} documents, {large.num_bytes / 1e6:.0f} MB"
    every = max(1, len(large.memory) // 40)
    rows = (
        Row(name, "s", (large.seconds,), "lower"),
        Row("peak memory of the largest process", "MB", (large.peak,), "lower",
            "a tenth of the documents", (small.peak,)),
        Row("memory of the largest process over time", "MB",
            tuple(round(m[1], 1) for m in large.memory[::every]), "lower", detail=True),
    )  # fmt: skip
    growth = large.peak / small.peak
    return rows, (
        Claim("ten times the documents take at most 1.25 times the memory", 1.25, growth,
              growth <= 1.25),
        Claim("no process holds more than 400 MB", 400.0, large.peak, large.peak <= 400.0),
    )  # fmt: skip


def _resident(pid: int) -> Iterator[int]:
    """Bytes of a process and all below it that are not pages of mapped files."""
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            memory = process.memory_info()
            yield memory.rss - memory.shared
    except psutil.NoSuchProcess:
        return


def _corpus(count: int, root: Path) -> int:
    """One part of `count` documents as the stage `clean` leaves it; its bytes of text."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, n)) for n in rng.integers(2, 10, WORDS)]
    frequency = 1 / np.arange(1, WORDS + 1)  # Zipf's law
    part = root / "parts" / "clean" / "made-up"
    key = artifact_key("clean_part", 1, {"documents": count}, [])
    size = 0

    def write_part(directory: Path) -> Outcome:
        nonlocal size
        with pa.OSFile(str(directory / DOCUMENTS), "wb") as sink:
            with pa.ipc.new_file(sink, DOCUMENT_SCHEMA) as writer:
                for start in range(0, count, BATCH):
                    number = min(BATCH, count - start)
                    lengths = rng.integers(5, 100, number)
                    drawn = rng.choice(WORDS, int(lengths.sum()), p=frequency / frequency.sum())
                    texts = [
                        " ".join([words[i] for i in run])
                        for run in np.split(drawn, np.cumsum(lengths)[:-1])
                    ]
                    size += sum(map(len, texts))
                    ids = [f"made-up/{start + i}" for i in range(number)]
                    columns = [ids, texts, ["made-up"] * number, ["{}"] * number]
                    writer.write_table(pa.table(columns, schema=DOCUMENT_SCHEMA))
        return Outcome()

    def write_corpus(directory: Path) -> Outcome:
        rows = pa.table({"row": pa.array(np.arange(0, count, 97))})  # duplicates, say
        with pa.OSFile(str(directory / removed_name(0)), "wb") as sink:
            with pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
        return Outcome({}, (str(part.relative_to(root)),))

    build(key, part, write_part, root=root, runtime=Runtime())
    whole = artifact_key("clean", 1, {"documents": count}, [f"clean_part@{key.fingerprint}"])
    build(whole, root / "clean" / short(whole.fingerprint), write_corpus, root=root,
          runtime=Runtime())  # fmt: skip
    return size


def _stage(root: Path) -> int:
    """What the child does: a small vocabulary, then every document."""
    (path,) = (root / "clean").iterdir()
    corpus = CleanedCorpus.open(path)
    settings = TrainedTokenizerConfig(vocab_size=4096, sample_bytes=1_000_000)
    tokenizer = train_tokenizer(settings, corpus, root=root, runtime=Runtime())
    started = time.perf_counter()
    runtime = Runtime(workers=WORKERS)
    shards = tokenize_corpus(TokenizeConfig(), corpus, tokenizer, root=root, runtime=runtime)
    facts = shards.facts
    dropped = len(range(0, json.loads((path / "manifest.json").read_text())["config"]["documents"],
                        97))  # fmt: skip
    tokens = facts["train_tokens"] + facts["validation_tokens"]
    seconds = time.perf_counter() - started
    print(json.dumps(
        {"documents": facts["documents"] + dropped, "tokens": tokens, "seconds": seconds}
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
