"""Our FineWeb filters on a folder of JSON Lines, as one command: the side the peer is held against.

    python -m benchmarks.own_cleaning FOLDER OUT [--words spacy] [--workers 2]

The functions of the stage in its order: read sources into parts, then per part the preset, e-mail
and IP addresses, and every document written, kept or rejected with all its reasons, and all its
measures. What is not the peer's job is left out: repair, and signatures and overlaps across parts.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from pipeline.corpus.chain import pass_through
from pipeline.corpus.document import CLEANED_SCHEMA, iter_batches
from pipeline.corpus.kernels.peer_words import AnyWords
from pipeline.corpus.kernels.tokens import words_by
from pipeline.corpus.presets import PRESETS
from pipeline.corpus.reading import WORKERS_LOAD, RawPart, read_sources
from pipeline.corpus.rejects import (
    DOCUMENTS,
    MEASURES,
    REJECTED,
    REJECTED_SCHEMA,
    cleaned_table,
    measures_table,
    rejected_table,
)
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.store.executor import run_jobs
from pipeline.store.runtime import Runtime

PART_BYTES = 32 << 20
"""Size at which files are cut: what a worker holds grows with its part, not with the corpus."""
STEPS = (*PRESETS["fineweb"], PersonalData(replace=("emails", "ips")))


@dataclass(frozen=True)
class Job:
    """One raw part to clean."""

    part: RawPart
    directory: Path
    words: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, clean, write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_cleaning", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", choices=("own", "spacy"), default="own")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    runtime = Runtime(workers=given.workers).preloading(WORKERS_LOAD)
    source = JsonlSource(
        name="measured", paths=(str(given.folder),), ids="corpus", split_bytes=PART_BYTES
    )
    parts = read_sources([source], root=given.out, runtime=runtime)
    jobs = [Job(part, given.out / f"cleaned-{i}", given.words) for i, part in enumerate(parts)]
    run_jobs(runtime, clean, jobs)
    return 0


def clean(job: Job) -> None:
    """One part, in whatever process."""
    job.directory.mkdir(parents=True)
    words = TypeAdapter(AnyWords).validate_python({"kind": job.words})
    measures: list[pa.Table] = []
    with ExitStack() as stack:
        stack.enter_context(words_by(words.tokenise))
        kept, rejected = (
            stack.enter_context(pa.ipc.new_file(str(job.directory / name), schema))
            for name, schema in ((DOCUMENTS, CLEANED_SCHEMA), (REJECTED, REJECTED_SCHEMA))
        )
        for raw in iter_batches(job.part.documents_path):
            passed = pass_through(STEPS, raw)
            batch, languages, verdicts = passed.batch, passed.languages, passed.verdicts
            kept.write_table(cleaned_table(batch, languages, verdicts.keep))
            rejected.write_table(rejected_table(batch, languages, verdicts))
            measures.append(
                measures_table(batch, languages, verdicts, passed.columns, passed.applied)
            )
    pq.write_table(pa.concat_tables(measures), job.directory / MEASURES, compression="zstd")


if __name__ == "__main__":
    sys.exit(main())
