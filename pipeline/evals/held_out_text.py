"""Documents to score, from what a person writes: files, a glob, a folder or a frozen set's name.

data/*.jsonl   notes.txt   corpus/   -> sources by their names -> doc_id, text, source, language
main                                 -> root/eval-sets/main
"""

import glob
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.artifacts import EvalSet
from pipeline.conversations.splits import unit_hash
from pipeline.corpus.document import TextBatch, iter_batches, metadata_column, open_documents
from pipeline.corpus.language import languages_of
from pipeline.corpus.reading import read_sources
from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.by_name import kind_of
from pipeline.corpus.sources.files import find_files
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.manifest import is_finished, read_manifest
from pipeline.store.runtime import Runtime

TABLES = ("jsonl", "parquet", "arrow", "csv")
SUFFIXES = (
    ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".arrow", ".csv", ".tsv", ".tab", ".txt",
    ".md", ".markdown", ".rst", ".html", ".htm", ".xhtml", ".warc", ".wet",
)  # fmt: skip
MOST_SOURCES = 40  # rows of a table that a person reads; beyond it, files count by their kind


@dataclass(frozen=True)
class HeldOutText:
    """Documents in columns, and what a figure about them must name."""

    name: str
    digest: str
    """sha256 over the documents' ids, sources and texts: equal digests, comparable figures."""
    documents: dict[str, list[str]]
    """`doc_id, text, source, language`."""
    left_out: dict[str, int]
    """Documents not scored, by reason."""

    @property
    def texts(self) -> list[str]:
        """The column `text`."""
        return self.documents["text"]


def read_held_out(
    data: str, *, root: Path, text_field: str = "text", most: int | None = None, seed: int = 0
) -> HeldOutText:
    """The documents `data` means; at most `most`, drawn by hash.

    ConfigError where it means nothing, DataError for files that hold no text.
    """
    path = Path(data).expanduser()
    if path.is_dir() and is_finished(path) and read_manifest(path).stage in EvalSet.stages:
        documents, name = frozen_documents(EvalSet.open(path)), path.name
    elif os.path.lexists(path) or glob.has_magic(data) or "://" in data:
        documents, name = _from_files(data, text_field), data
    elif is_finished(root / "eval-sets" / data):
        documents, name = frozen_documents(EvalSet.open(root / "eval-sets" / data)), data
    else:
        there = sorted(p.name for p in (root / "eval-sets").glob("*") if is_finished(p))
        raise ConfigError(
            f"{data!r} is no file, folder or glob (seen from {Path.cwd()}) and no eval set under "
            f"{root}, which has {', '.join(there) or 'none'}"
        )
    documents, left_out = _chosen(documents, most, seed)
    if not documents["text"]:
        raise DataError(f"{data} holds no text to score; name files with documents")
    digest = hashlib.sha256()
    for row in zip(documents["doc_id"], documents["source"], documents["text"], strict=True):
        for value in row:
            data_bytes = value.encode()
            digest.update(b"%d\n" % len(data_bytes) + data_bytes)
    return HeldOutText(name, digest.hexdigest(), documents, left_out)


def _chosen(
    documents: dict[str, list[str]], most: int | None, seed: int
) -> tuple[dict[str, list[str]], dict[str, int]]:
    rows = [i for i, text in enumerate(documents["text"]) if text]
    left_out = {"empty": len(documents["text"]) - len(rows)}
    if most is not None and len(rows) > most:
        left_out["beyond the limit"] = len(rows) - most
        rows.sort(key=lambda i: unit_hash(seed, documents["doc_id"][i], documents["source"][i]))
        rows = sorted(rows[:most])
    kept = {name: [values[i] for i in rows] for name, values in documents.items()}
    return kept, {reason: count for reason, count in left_out.items() if count}


def frozen_documents(eval_set: EvalSet) -> dict[str, list[str]]:
    """The columns `doc_id, text, source, language` of a frozen set."""
    with open_documents(eval_set.documents_path) as reader:
        table = reader.read_all().select(["doc_id", "text", "source"])
    documents: dict[str, list[str]] = table.to_pydict()
    languages = languages_of(TextBatch.of(documents["text"])).codes if documents["text"] else []
    return documents | {"language": languages}


def _from_files(data: str, text_field: str) -> dict[str, list[str]]:
    """One source per kind of file; a row's own `source` names it, else the file it stands in."""
    files = find_files([data], suffixes=SUFFIXES, source="data")
    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(kind_of(file.path), []).append(file.path)
    adapter: TypeAdapter[Any] = TypeAdapter(AnySource)
    sources = []
    for kind, paths in kinds.items():
        settings: dict[str, Any] = {"kind": kind, "name": kind, "paths": tuple(paths)}
        if kind in TABLES:
            settings |= {"metadata_fields": ("source",), "text_field": text_field}
        sources.append(adapter.validate_python(settings))
    documents: dict[str, list[str]] = {n: [] for n in ("doc_id", "text", "source", "language")}
    places: list[tuple[str, str, str]] = []  # (own source, file, kind) of each document
    with tempfile.TemporaryDirectory() as scratch:
        for part in read_sources(sources, root=Path(scratch), runtime=Runtime()):
            for batch in iter_batches(part.documents_path):
                documents["doc_id"] += batch.doc_ids
                documents["text"] += batch.texts
                documents["language"] += languages_of(batch).codes
                own = metadata_column(batch, "source")
                file_names = metadata_column(batch, "file")
                for source, file_name in zip(own, file_names, strict=True):
                    places.append((source or "", file_name or part.source, part.source))
    names = [own or file for own, file, _ in places]
    if len(set(names)) > MOST_SOURCES:
        names = [own or kind for own, _, kind in places]
    if len(set(names)) > MOST_SOURCES:
        names = [kind for _, _, kind in places]
    documents["source"] = names
    return documents
