"""Our tokenizing of a folder of JSON Lines, as one command: the side the peers are held against.

    python -m benchmarks.own_tokenize FOLDER OUT TOKENIZER [--engine tiktoken] [--workers 2]

Lines are cut into slices of equal bytes; a worker parses a slice, encodes it with the engine of the
stage `tokenize` (proved first, as there) and writes the same shard files.
"""

import argparse
import functools
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from pipeline.tokens.engines import Engine, EngineName, choose_engine, load_engine
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.tokenizer import Tokenizer

SLICE_BYTES = 8 << 20  # of JSON Lines, the shard size of the stage


@dataclass(frozen=True)
class Slice:
    """Whole lines of a file."""

    path: Path
    start: int
    stop: int
    out: Path
    tokenizer: Path
    engine: EngineName


def main(arguments: Sequence[str] | None = None) -> int:
    """Encode everything and write OUT/facts.json; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_tokenize", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--engine", choices=("auto", "tiktoken"), default="auto")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    files = sorted(given.folder.glob("*.jsonl"))
    engine: EngineName = "tiktoken"
    if given.engine == "auto":
        engine = choose_engine(
            Tokenizer.load(given.tokenizer), given.tokenizer, _first_texts(files)
        ).engine
    slices = [
        Slice(path, start, stop, given.out / f"train-{i:05d}.arrow", given.tokenizer, engine)
        for i, (path, start, stop) in enumerate(_cut(files))
    ]
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        counts = list(pool.map(encode, slices))
    facts = {"engine": engine, "documents": sum(c[0] for c in counts)}
    facts["tokens"] = sum(c[1] for c in counts) - 2 * int(facts["documents"])
    (given.out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return 0


def encode(job: Slice) -> tuple[int, int]:
    """Write one shard; its documents and tokens."""
    tokenizer, engine = _prepared(job.tokenizer, job.engine)
    with job.path.open("rb") as file:
        file.seek(job.start)
        lines = file.read(job.stop - job.start).splitlines()
    rows = []
    for line in lines:
        row = orjson.loads(line)
        rows.append(TokenRow(row["id"], job.path.name, engine.encode(row["text"].encode())))
    return len(rows), write_shard(job.out, rows, tokenizer)


@functools.cache
def _prepared(path: Path, name: EngineName) -> tuple[Tokenizer, Engine]:
    tokenizer = Tokenizer.load(path)
    return tokenizer, load_engine(tokenizer, path, name).engine


def _first_texts(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            for line in islice(file, 1000):
                yield orjson.loads(line)["text"].encode()


def _cut(files: Sequence[Path]) -> Iterator[tuple[Path, int, int]]:
    """Runs of whole lines of about SLICE_BYTES."""
    for path in files:
        size, start = path.stat().st_size, 0
        with path.open("rb") as file:
            while start < size:
                file.seek(min(start + SLICE_BYTES, size))
                file.readline()
                stop = min(file.tell(), size)
                yield path, start, stop
                start = stop


if __name__ == "__main__":
    sys.exit(main())
