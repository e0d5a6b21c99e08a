"""Our tokenizing of a folder of JSON Lines, as one command: the side the peers are held against.

    python -m benchmarks.own_tokenize FOLDER OUT TOKENIZER [--engine tiktoken] [--workers 2]
    python -m benchmarks.own_tokenize FOLDER OUT TOKENIZER --train      makes TOKENIZER and ends

Lines are cut into slices of equal bytes; a worker parses a slice, encodes it with the engine of the
stage `tokenize` (proved first, as there) and writes the same shard files.
"""

import argparse
import functools
import json
import multiprocessing
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.tokens.engines import Engine, EngineName, choose_engine, load_engine
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.shards import token_dtype
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.tokens.training import train_ranks

TRAINING_BYTES = 10_000_000
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
    parser.add_argument("--train", action="store_true")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    files = sorted(given.folder.glob("*.jsonl"))
    if given.train:
        train(files, given.tokenizer)
        return 0
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        for _ in range(given.workers):  # they start while the engine is chosen
            pool.submit(_prepared, given.tokenizer, "tiktoken")
        engine: EngineName = "tiktoken"
        if given.engine == "auto":
            tokenizer = Tokenizer.load(given.tokenizer)
            engine = choose_engine(tokenizer, given.tokenizer, _texts(files)).engine
        slices = [
            Slice(path, start, stop, given.out / f"train-{i:05d}.arrow", given.tokenizer, engine)
            for i, (path, start, stop) in enumerate(_cut(files))
        ]
        made = list(pool.map(encode, slices))
    documents = sum(shard.documents for shard in made)
    facts = {
        "engine": engine,
        "documents": documents,
        "tokens": sum(shard.tokens for shard in made) - 2 * documents,  # without bos and eos
        "peak_bytes": max(shard.peak_bytes for shard in made),
    }
    (given.out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return 0


class Shard(NamedTuple):
    """What a worker has written, and the most memory it ever held."""

    documents: int
    tokens: int
    peak_bytes: int


def encode(job: Slice) -> Shard:
    """Write one shard."""
    tokenizer, engine = _prepared(job.tokenizer, job.engine)
    rows: list[TokenRow] = []
    dtype = token_dtype(tokenizer.vocab_size)
    left = job.stop - job.start
    with job.path.open("rb") as file:
        file.seek(job.start)
        for line in file:
            row = orjson.loads(line)
            ids = engine.encode(row["text"].encode()).astype(dtype)
            rows.append(TokenRow(row["id"], job.path.name, ids))
            left -= len(line)
            if left <= 0:
                break
    tokens = write_shard(job.out, rows, tokenizer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Shard(len(rows), tokens, peak)


def train(files: Sequence[Path], tokenizer: Path) -> None:
    """A vocabulary of 16,384 with the cl100k pattern from the first TRAINING_BYTES."""
    texts: list[str] = []
    size = 0
    for text in _texts(files):
        texts.append(text.decode())
        size += len(text)
        if size > TRAINING_BYTES:
            break
    pattern = PATTERNS["cl100k"]
    made = train_ranks(lambda: texts, vocab_size=16_384, pattern=pattern, min_pair_count=1)
    made.tokenizer.save(tokenizer)
    write_huggingface(made.tokenizer, tokenizer / "hf")


@functools.cache
def _prepared(path: Path, name: EngineName) -> tuple[Tokenizer, Engine]:
    tokenizer = Tokenizer.load(path)
    return tokenizer, load_engine(tokenizer, path, name).engine


def _texts(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            for line in file:
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
