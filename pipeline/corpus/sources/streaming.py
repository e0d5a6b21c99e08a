"""Rows of a dataset as they arrive, shard by shard; nothing is converted or stored before.

    commit of the hub, or hashes of the data files -> one unit per shard -> rows -> documents

A shard's identity is the commit and its number: a branch is resolved once per root.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.corpus.sources.fields import id_of
from pipeline.corpus.sources.files import find_files
from pipeline.corpus.sources.hub import HubDataset
from pipeline.corpus.sources.inputs import STREAM, InputFile, InputUnit
from pipeline.corpus.sources.jsonl import BadRecord, text_of
from pipeline.corpus.sources.parquet_check import refuse_expanding
from pipeline.corpus.sources.part import PartWriter, RowWriter
from pipeline.store.errors import DataError
from pipeline.store.files import sha256_file, write_json
from pipeline.store.fingerprint import digest, short
from pipeline.store.memory import DECODED_BYTES, at_most


def stream_units(source: HubDataset, root: Path) -> list[InputUnit]:
    """One unit per shard of the stream."""
    content, revision, shards = _resolved(source, root)
    units = []
    for i in range(shards):
        name = f"{source.split}-{i:05d}-of-{shards:05d}"
        identity = digest([content, source.subset, source.split, i, shards])
        path = f"{STREAM}{revision}:{i}:{shards}"
        units.append(InputUnit(name, (InputFile(path, name, identity, 0),)))
    return units


def parse_stream(source: HubDataset, file: InputFile, writer: PartWriter) -> None:
    """Read one shard; what follows a fault of the stream is quarantined as one break."""
    import datasets  # here: a second to load
    import httpx
    import pyarrow as pa

    revision, shard, shards = file.path.removeprefix(STREAM).rsplit(":", 2)
    rows = source.row_writer(file, writer)
    number = 0
    try:
        stream = source.loaded(revision=revision or None)
        with at_most(DECODED_BYTES):
            for row in stream.shard(num_shards=int(shards), index=int(shard)):
                _add_row(source, row, number, rows)
                number += 1
    except MemoryError as error:
        writer.broken(file.name, f"row {number}", "too_large", f"{error or 'out of memory'}")
    except httpx.HTTPError as error:
        raise OSError(f"{source.dataset}: {type(error).__name__}: {error}") from error
    except (ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        writer.broken(file.name, f"row {number}", "bad_stream", f"{type(error).__name__}: {error}")
    if number == 0:
        writer.skip("empty_file")


def _add_row(source: HubDataset, row: Mapping[str, Any], number: int, rows: RowWriter) -> None:
    writer = rows.writer
    try:
        text = text_of(row, source.text_field)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > source.max_text_bytes:
            limit = f"the limit max_text_bytes is {source.max_text_bytes}"
            raise BadRecord("text_too_long", f"{size} bytes, {limit}")
    except BadRecord as bad:
        writer.quarantine(rows.file, f"row {number}", bad.reason, bad.detail)
        return
    doc_id = id_of(row.get(source.id_field), writer)
    rows.add(text, number, doc_id=doc_id, metadata=source.metadata_of(row, writer))


def _resolved(source: HubDataset, root: Path) -> tuple[str, str, int]:
    """(identity of the content, commit or "", shards)."""
    if source.data_files:
        return _content(source), "", int(source.loaded().num_shards)
    if Path(source.dataset).expanduser().is_dir():
        raise DataError(
            f"source {source.name!r}: {source.dataset} lies on this machine; name its files in "
            "data_files, or set streaming to false"
        )
    asked = [source.dataset, source.revision, source.subset, source.split, "streaming"]
    record = root / "resolved" / f"huggingface-{short(digest(asked))}.json"
    try:
        known = orjson.loads(record.read_bytes())
        return str(known["commit"]), str(known["commit"]), int(known["shards"])
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        pass  # not asked yet, or the record is broken: ask
    commit = _commit(source)
    shards = int(source.loaded(revision=commit).num_shards)
    write_json(record, {"asked": asked, "commit": commit, "shards": shards})
    return commit, commit, shards


def _content(source: HubDataset) -> str:
    files = find_files(source.data_files, suffixes=(), source=source.name)
    for file in files if source.dataset == "parquet" else ():
        refuse_expanding(file, ratio=source.max_expansion_ratio, source=source.name)
    try:
        known = [file.identity or sha256_file(Path(file.path)) for file in files]
    except OSError as error:
        raise DataError(f"source {source.name!r}: {error}; check data_files") from error
    return digest([[file.name, identity] for file, identity in zip(files, known, strict=True)])


def _commit(source: HubDataset) -> str:
    import httpx
    import huggingface_hub

    try:
        found = huggingface_hub.HfApi().dataset_info(source.dataset, revision=source.revision)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise DataError(source.explained(error)) from error
    return str(found.sha)
