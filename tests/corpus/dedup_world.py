"""Corpora of several sources for the tests of deduplication, and signature files made directly."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import iter_documents
from pipeline.corpus.dedup.held_out import HeldOut, load_held_out
from pipeline.corpus.dedup.keys import content_keys
from pipeline.corpus.dedup.merge import MergePart, merge_parts
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig
from pipeline.corpus.dedup.signatures import SIGNATURES, signature_schema, signatures_table
from pipeline.corpus.document import TextBatch
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.sources import JsonlSource
from pipeline.corpus.words import words_of
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import hold_out, made_up

Rows = Sequence[Mapping[str, Any]]


def clean_sources(
    place: Path,
    sources: Mapping[str, Rows | Sequence[Rows]],
    *,
    held_out: Mapping[str, str] | None = None,
    root: Path | None = None,
    **config: Any,
) -> CleanedCorpus:
    """Clean JSONL files written below `place`, without filters; a source is rows, or files."""
    root = root or place / "root"
    made = []
    for name, content in sources.items():
        files = [content] if not content or isinstance(content[0], Mapping) else content
        paths = []
        for i, rows in enumerate(files):
            path = place / "in" / name / f"{i}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))  # type: ignore[call-overload]
            paths.append(str(path))
        made.append(JsonlSource(name=name, paths=tuple(paths), ids="corpus"))
    held = dict(held_out or {"held": made_up(999_983)})
    eval_set = hold_out(root, held, name="held")
    settings = CleanConfig(sources=tuple(made), **{"steps": (), **config})
    return clean_corpus(settings, eval_set, root=root, runtime=Runtime())


def texts_of(corpus: CleanedCorpus) -> dict[str, str]:
    """The kept text by document id."""
    return {document.doc_id: document.text for document in iter_documents(corpus)}


def row(doc_id: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"id": doc_id, "text": text, **fields}


def nothing_held_out(dedup: DedupConfig) -> HeldOut:
    return load_held_out((), RepairConfig(), dedup.for_parts(0))


def write_signatures(directory: Path, texts: Mapping[str, str], dedup: DedupConfig) -> Path:
    """The signatures of some documents as a cleaned part has them."""
    directory.mkdir(parents=True, exist_ok=True)
    config = dedup.for_parts(0)
    batch = TextBatch.of(list(texts.values()), list(texts))
    overlap = nothing_held_out(dedup).grams.overlap(words_of(batch))
    keep = np.ones(len(batch), np.bool_)
    table = signatures_table(batch, keep, content_keys(batch.texts), overlap, config)
    with pa.ipc.new_file(str(directory / SIGNATURES), signature_schema(config)) as writer:
        writer.write_table(table, max_chunksize=3)
    return directory


def merge_texts(
    place: Path, parts: Sequence[tuple[str, Mapping[str, str]]], dedup: DedupConfig
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(removed rows by document id, facts) of parts given as (source, texts)."""
    members = [
        MergePart(write_signatures(place / f"part{i}", texts, dedup), source)
        for i, (source, texts) in enumerate(parts)
    ]
    out = place / "out"
    out.mkdir(parents=True, exist_ok=True)
    facts = merge_parts(members, nothing_held_out(dedup), dedup, DecontaminationConfig(), out)
    removed = {}
    for i in range(len(parts)):
        with pa.ipc.open_file(str(out / f"removed-{i}.arrow")) as reader:
            removed |= {found["doc_id"]: found for found in reader.read_all().to_pylist()}
    return removed, facts
