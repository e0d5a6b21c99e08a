"""Parquet files, streamed in batches of rows: one document per row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.corpus.sources.files import find_files, stem
from pipeline.corpus.sources.jsonl import id_of
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.unit import InputFile, InputUnit, Source
from pipeline.store.errors import DataError

BATCH_ROWS = 256  # rows of up to max_text_bytes each are in memory at once


class TableSource(Source):
    """What sources with named columns share."""

    text_field: str = Field("text", title="Text column", description="Column that holds the text.")
    id_field: str = Field(
        "id",
        title="Id column",
        description="Column that holds the id; absent: `<file stem>/<row>`.",
    )
    metadata_fields: tuple[str, ...] = Field(
        (), title="Metadata columns", description="Columns kept as metadata of the document."
    )
    max_text_bytes: int = Field(
        16 << 20,
        ge=1,
        le=1 << 30,
        title="Longest text",
        description="Bytes of the longest text taken; a longer one is quarantined.",
    )

    def wanted(self, available: list[str], *, file: str) -> list[str]:
        """The columns to read; DataError when the text column is not among `available`."""
        if self.text_field not in available:
            raise DataError(
                f"source {self.name!r}: {file} has no column {self.text_field!r}; "
                f"set text_field to one of {', '.join(available[:20]) or '(no columns)'}"
            )
        asked = (self.text_field, self.id_field, *self.metadata_fields)
        return [name for name in dict.fromkeys(asked) if name in available]


class ParquetSource(TableSource):
    """Parquet files (`.parquet`)."""

    kind: Literal["parquet"] = "parquet"
    paths: tuple[str, ...] = Field(
        title="Paths", description="Files, directories (searched recursively) or globs."
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Paths are found by name and content."""
        return super().not_identity() | {"paths"}

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per file."""
        suffixes = (".parquet", ".pq")
        files = find_files(self.paths, suffixes=suffixes, source=self.name, compressed=False)
        return [InputUnit(file.name, (file,)) for file in files]

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's files."""
        parse_parquet(self, unit, writer)


def parse_parquet(source: ParquetSource, unit: InputUnit, writer: PartWriter) -> None:
    """Read one unit of Parquet; what follows damage in a file is quarantined as one break."""
    for file in unit.files:
        row = 0
        try:
            for batch in _batches(source, file):
                row = add_rows(source, file.name, batch, row, writer)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the file's
            writer.quarantine(file.name, f"row {row}", "bad_parquet", str(error))
            writer.counts["breaks"] += 1


def _batches(source: ParquetSource, file: InputFile) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(
        Path(file.path), memory_map=True, pre_buffer=False, page_checksum_verification=True
    ) as parquet:
        columns = source.wanted(parquet.schema_arrow.names, file=file.path)
        for group in range(parquet.num_row_groups):  # one by one: damage ends only its own
            yield from parquet.iter_batches(
                BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
            )


def add_rows(
    source: TableSource, file: str, batch: pa.RecordBatch, row: int, writer: PartWriter
) -> int:
    """Add the rows of a batch, counted on from `row`; returns the next row's number."""
    names = set(batch.schema.names)
    texts = _texts(source, file, batch.column(source.text_field))
    has_id = source.id_field in names
    ids = batch.column(source.id_field).to_pylist() if has_id else [None] * batch.num_rows
    kept = [name for name in source.metadata_fields if name in names]
    metadata = batch.select(kept).to_pylist() if kept else [None] * batch.num_rows
    for data, doc_id, facts in zip(texts, ids, metadata, strict=True):
        _add_row(source, file, row, data, id_of(doc_id, writer), facts, writer)
        row += 1
    return row


def _add_row(
    source: TableSource, file: str, row: int, data: bytes | None, doc_id: str | None,
    facts: dict[str, Any] | None, writer: PartWriter,
) -> None:  # fmt: skip
    where = f"row {row}"
    if data is None:
        writer.quarantine(file, where, "missing_text", f"{source.text_field!r} is null")
    elif len(data) > source.max_text_bytes:
        detail = f"{len(data)} bytes, the limit max_text_bytes is {source.max_text_bytes}"
        writer.quarantine(file, where, "text_too_long", detail)
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            writer.quarantine(file, where, "invalid_utf8", str(error))
            return
        writer.add(text, doc_id=doc_id, fallback_id=f"{stem(file)}/{row}", metadata=facts)


def _texts(source: TableSource, file: str, column: pa.Array) -> list[bytes | None]:
    """The column as bytes: Arrow does not check that strings in a file are UTF-8, so we do."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binaries = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    if pa.types.is_null(kind):
        return [None] * len(column)
    if not any(test(kind) for test in (*strings, *binaries)):
        raise DataError(
            f"source {source.name!r}: column {source.text_field!r} of {file} holds {kind}, "
            "expected text; set text_field to a column of strings"
        )
    return column.cast(pa.large_binary()).to_pylist()
