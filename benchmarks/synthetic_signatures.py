"""Signature files of many made-up documents, and their comparison alone: what memory it takes.

    python -m benchmarks.synthetic_signatures make FOLDER --documents 1000000
    python -m benchmarks.synthetic_signatures merge FOLDER

A document has 100 shingles; one in five is a near copy (99 of them equal) of one of as many
prototypes as there are hundreds of documents.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.corpus.dedup.held_out import load_held_out
from pipeline.corpus.dedup.keys import CONTENT_KEY_BYTES
from pipeline.corpus.dedup.merge import MergePart, merge_parts
from pipeline.corpus.dedup.minhash import distinct, signatures_of
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig
from pipeline.corpus.dedup.signatures import SIGNATURES, shingle_columns, signature_schema
from pipeline.corpus.repair import RepairConfig

DEDUP = DedupConfig(max_source_loss=1)
PER_PART, PER_BATCH, SHINGLES = 100_000, 10_000, 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or merge; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthetic_signatures", description=__doc__
    )
    parser.add_argument("what", choices=("make", "merge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    if given.what == "make":
        make(given.folder, given.documents)
        return 0
    parts = [MergePart(path, "made-up") for path in sorted(given.folder.glob("part-*"))]
    out = given.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    held_out = load_held_out((), RepairConfig(), DEDUP.for_parts(0))
    facts = merge_parts(parts, held_out, DEDUP, DecontaminationConfig(), out)
    print(facts["deduplication"])
    return 0


def make(folder: Path, documents: int) -> None:
    """Write `documents` rows (a multiple of PER_BATCH) as parts of PER_PART."""
    config = DEDUP.for_parts(0)
    schema = signature_schema(config)
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 1 << 32, (max(1, documents // 100), SHINGLES), np.uint32)
    for first in range(0, documents, PER_PART):
        directory = folder / f"part-{first // PER_PART:05d}"
        directory.mkdir(parents=True)
        with pa.ipc.new_file(str(directory / SIGNATURES), schema) as writer:
            for start in range(first, min(first + PER_PART, documents), PER_BATCH):
                writer.write_table(_batch(start, prototypes, rng, schema))


def _batch(
    start: int, prototypes: np.ndarray, rng: np.random.Generator, schema: pa.Schema
) -> pa.Table:
    config = DEDUP.for_parts(0)
    count = PER_BATCH
    hashes = rng.integers(0, 1 << 32, (count, SHINGLES), np.uint32)
    copies = np.flatnonzero(rng.random(count) < 0.2)
    hashes[copies, 1:] = prototypes[rng.integers(0, len(prototypes), len(copies)), 1:]
    shingles = distinct(hashes.ravel(), np.arange(count + 1) * SHINGLES)
    keys = rng.bytes(count * CONTENT_KEY_BYTES)
    chars = rng.integers(300, 8_000, count)
    columns = {
        "doc_id": pa.array([f"web/page-{start + i:012d}" for i in range(count)]),
        "chars": pa.array(chars),
        "bytes": pa.array(chars),
        "key": pa.Array.from_buffers(
            pa.binary(CONTENT_KEY_BYTES), count, [None, pa.py_buffer(keys)]
        ),
        "overlap": pa.array(np.zeros(count)),
        "covered": pa.array(np.zeros(count)),
        "held_out_grams": pa.array([[]] * count, pa.list_(pa.uint32())),
        "held_out_spans": pa.array([[]] * count, pa.list_(pa.int64())),
        **shingle_columns(shingles, signatures_of(shingles, config), config),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


if __name__ == "__main__":
    sys.exit(main())
