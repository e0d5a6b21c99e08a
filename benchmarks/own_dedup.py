"""Our deduplication of a folder of JSON Lines, as one command: the side the peer is held against.

    python -m benchmarks.own_dedup FOLDER OUT [--closure unverified]

The stage `clean` without filters: read into parts, sign, compare, then every kept document written
as JSON Lines to OUT/kept.jsonl, as the peer does. OUT/groups.json holds each document that left
with the one that stays.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from pipeline.artifacts import CleanedCorpus, EvalSet
from pipeline.corpus.cleaned import iter_kept, kept_parts, read_removed
from pipeline.corpus.dedup.settings import DedupConfig
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.stages.freeze_eval_set import EVAL_SCHEMA
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.runtime import Runtime


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, compare, write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_dedup", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--closure", choices=("verified", "unverified"), default="verified")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    config = CleanConfig(
        sources=(JsonlSource(name="measured", paths=(str(given.folder),), ids="corpus"),),
        repair=RepairConfig(mojibake=False, invisible=False),
        steps=(),
        bias_groups=None,
        dedup=DedupConfig(bits=64, closure=given.closure, max_source_loss=1),
    )
    runtime = Runtime(workers=given.workers)
    corpus = clean_corpus(config, nothing_held_out(given.out), root=given.out, runtime=runtime)
    write_kept(corpus, given.out / "kept.jsonl")
    write_groups(corpus, given.out / "groups.json")
    return 0


def nothing_held_out(root: Path) -> EvalSet:
    """An eval set without documents: the peer holds nothing out."""

    def work(directory: Path) -> Outcome:
        with pa.ipc.new_file(str(directory / "documents.arrow"), EVAL_SCHEMA):
            return Outcome()

    key = artifact_key("eval_set", 1, {"documents": 0}, [])
    path = build(key, root / "eval-sets" / "none", work, root=root, runtime=Runtime())
    return EvalSet(path, key.fingerprint)


def write_kept(corpus: CleanedCorpus, path: Path) -> None:
    """Every kept document as a JSON line."""
    with path.open("wb") as file:
        for part in kept_parts(corpus):
            for batch in iter_kept(part):
                for doc_id, text in zip(batch.doc_ids, batch.texts, strict=True):
                    file.write(orjson.dumps({"text": text, "id": doc_id}) + b"\n")


def write_groups(corpus: CleanedCorpus, path: Path) -> None:
    """`{removed document: the one that stays}`."""
    groups: dict[str, str] = {}
    for index in range(len(corpus.part_paths())):
        table = read_removed(corpus.path, index)
        rows = zip(*(table.column(name).to_pylist() for name in ("doc_id", "keeper")), strict=True)
        groups |= dict(rows)
    path.write_text(json.dumps(groups), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
