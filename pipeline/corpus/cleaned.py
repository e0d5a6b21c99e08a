"""Reading a CleanedCorpus: its parts in order, each minus the rows removed across parts.

CleanedCorpus -> kept_parts -> KeptPart -> read_kept -> Arrow table
              -> iter_documents -> Document, one by one
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.document import TextBatch, iter_batches, open_documents
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.store.fingerprint import digest
from pipeline.store.manifest import read_manifest

READ_COLUMNS = ("doc_id", "text", "source")


@dataclass(frozen=True)
class KeptPart:
    """A cleaned part and the list of its rows that deduplication and decontamination removed."""

    path: Path
    removed: Path
    """Arrow IPC file: row, doc_id, reason, duplicate_of, jaccard, overlap, covered, bytes."""
    fingerprint: str
    """Digest of the part and of the removed rows: equal fingerprints, equal kept text."""


@dataclass(frozen=True)
class Document:
    """One kept document."""

    doc_id: str
    text: str
    source: str


def removed_name(index: int) -> str:
    """File name of the removal list of the part at `index`."""
    return f"removed-{index}.arrow"


def read_removed(directory: Path, index: int) -> pa.Table:
    """The removal list of the part at `index` of the corpus in `directory`, rows ascending."""
    with open_documents(directory / removed_name(index)) as reader:
        return reader.read_all()


def kept_parts(corpus: CleanedCorpus) -> list[KeptPart]:
    """The parts in order; a part whose documents were all removed is still listed."""
    parts = []
    for index, path in enumerate(corpus.part_paths()):
        removed = corpus.path / removed_name(index)
        identity = {"part": read_manifest(path).fingerprint, "removed": _removed_rows(removed)}
        parts.append(KeptPart(path, removed, digest(identity)))
    return parts


def iter_kept(part: KeptPart, columns: Sequence[str] = READ_COLUMNS) -> Iterator[TextBatch]:
    """The kept documents of a part, one record batch at a time, in order."""
    removed = np.array(_removed_rows(part.removed), np.int64)
    start = 0
    for batch in iter_batches(part.path / DOCUMENTS, columns):
        keep = np.ones(len(batch), np.bool_)
        here = removed[(removed >= start) & (removed < start + len(batch))]
        keep[here - start] = False
        start += len(batch)
        yield batch if keep.all() else batch.filtered(keep)


def read_kept(part: KeptPart, columns: Sequence[str] = READ_COLUMNS) -> pa.Table:
    """The kept documents of a part as one table, in order."""
    with open_documents(part.path / DOCUMENTS) as reader:
        schema = pa.schema([reader.schema.field(name) for name in columns])
    tables = [batch.table for batch in iter_kept(part, columns)]
    return pa.concat_tables([schema.empty_table(), *tables])


def iter_documents(corpus: CleanedCorpus) -> Iterator[Document]:
    """Every kept document of the corpus, in order, holding one record batch in memory."""
    for part in kept_parts(corpus):
        for batch in iter_kept(part):
            rows = zip(batch.doc_ids, batch.texts, batch.sources, strict=True)
            yield from (Document(*row) for row in rows)


def _removed_rows(path: Path) -> list[int]:
    with open_documents(path) as reader:
        rows: list[int] = reader.read_all().column("row").to_pylist()
        return rows
