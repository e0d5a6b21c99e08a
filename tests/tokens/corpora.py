"""Small cleaned corpora for these tests, laid out as the stage `clean` leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import removed_name
from pipeline.corpus.document import DOCUMENT_SCHEMA
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime

Documents = Sequence[tuple[str, str]]


def write_table(path: Path, table: pa.Table, *, rows_per_batch: int = 7) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)


def cleaned_corpus(
    root: Path,
    sources: Mapping[str, Documents],
    *,
    removed: Mapping[str, Sequence[int]] | None = None,
) -> CleanedCorpus:
    """One part per source, of (doc_id, text) rows, minus the rows in `removed`."""
    removed = removed or {}
    parts = [_part(root, source, documents) for source, documents in sources.items()]
    key = artifact_key("clean", 1, {"removed": json.dumps(dict(removed))}, [p[1] for p in parts])

    def work(directory: Path) -> Outcome:
        for index, source in enumerate(sources):
            rows = pa.table({"row": pa.array(removed.get(source, ()), pa.int64())})
            write_table(directory / removed_name(index), rows)
        return Outcome({}, tuple(part[0] for part in parts))

    path = build(key, root / "clean" / short(key.fingerprint), work, root=root, runtime=Runtime())
    return CleanedCorpus(path, key.fingerprint)


def _part(root: Path, source: str, documents: Documents) -> tuple[str, str]:
    key = artifact_key(
        "clean_part", 1, {"source": source, "rows": [list(d) for d in documents]}, []
    )

    def work(directory: Path) -> Outcome:
        ids = [doc_id for doc_id, _ in documents]
        texts = [text for _, text in documents]
        columns = [ids, texts, [source] * len(ids), ["{}"] * len(ids)]
        write_table(directory / DOCUMENTS, pa.table(columns, schema=DOCUMENT_SCHEMA))
        return Outcome()

    reference = f"parts/clean/{short(key.fingerprint)}"
    build(key, root / reference, work, root=root, runtime=Runtime())
    return reference, f"clean_part@{key.fingerprint}"
