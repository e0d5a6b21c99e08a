"""What sources of columns share: record batches of Arrow become documents.

RecordBatch -> checked columns -> text, id, metadata of each row -> RowWriter
"""

from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.corpus.sources.fields import FieldSource, id_of
from pipeline.corpus.sources.part import PartWriter, RowWriter

BATCH_ROWS = 256  # rows of up to max_text_bytes each are in memory at once
# What reading damaged data raises: absurd sizes and names that are no UTF-8 among others.
DAMAGE = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)
STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
BINARIES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
# What a single value raises that Python cannot hold: a year beyond 9999, an unknown time zone.
UNTRANSLATABLE = (pa.ArrowException, ValueError, OverflowError, KeyError)


class TableSource(FieldSource):
    """What sources with named columns share."""

    max_text_bytes: int = Field(
        16 << 20,
        ge=1,
        le=1 << 30,
        title="Longest text",
        description="Bytes of the longest text taken; a longer one is quarantined.",
    )

    def wanted(self, available: list[str]) -> list[str] | None:
        """The columns to read, or None when the text column is not among `available`."""
        if self.text_field not in available:
            return None
        return [name for name in self.fields() if name in available]


def is_ours(error: BaseException) -> bool:
    """Whether the disk or the network failed rather than the file."""
    return isinstance(error, OSError) and error.errno is not None


class NoText(Exception):
    """The column that should hold the text holds something else."""


def no_text_column(source: TableSource, available: list[str]) -> str:
    """What to say about a file without the text column."""
    found = ", ".join(map(repr, available[:20])) or "no columns"
    return f"no column {source.text_field!r} among {found}; set text_field to one of these"


def add_rows(source: TableSource, batch: pa.RecordBatch, row: int, rows: RowWriter) -> int:
    """Add the rows of a batch, numbered on from `row`; returns the next row's number.

    Raises pa.ArrowInvalid where the batch is damaged, NoText where the text column is no text.
    """
    columns = {name: _checked(column) for name, column in _columns(batch, source).items()}
    texts = _texts(source, columns.pop(source.text_field))
    own = columns.pop(source.id_field, None)
    writer = rows.writer
    ids = _values(own, writer, "replaced_ids") if own is not None else [None] * batch.num_rows
    if source.id_field in (*source.metadata_fields, source.url_field) and own is not None:
        columns[source.id_field] = own
    facts: list[Any] = [None] * batch.num_rows
    if columns:
        lists = {
            name: _values(column, writer, "dropped_metadata") for name, column in columns.items()
        }
        facts = [
            source.metadata_of(dict(zip(lists, values, strict=True)), writer)
            for values in zip(*lists.values(), strict=True)
        ]
    for data, doc_id, metadata in zip(texts, ids, facts, strict=True):
        if data is None:
            detail = f"{source.text_field!r} is null"
            writer.quarantine(rows.file, f"row {row}", "missing_text", detail)
        elif len(data) > source.max_text_bytes:
            detail = f"{len(data)} bytes, the limit max_text_bytes is {source.max_text_bytes}"
            writer.quarantine(rows.file, f"row {row}", "text_too_long", detail)
        else:
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                writer.quarantine(rows.file, f"row {row}", "invalid_utf8", str(error))
            else:
                rows.add(text, row, doc_id=id_of(doc_id, writer), metadata=metadata)
        row += 1
    return row


def _columns(batch: pa.RecordBatch, source: TableSource) -> dict[str, pa.Array]:
    """The wanted columns; of two of one name the first."""
    found: dict[str, pa.Array] = {}
    for i, name in enumerate(batch.schema.names):
        if name in source.fields():
            found.setdefault(name, batch.column(i))
    return found


def _checked(column: pa.Array) -> pa.Array:
    """The column with offsets that stay inside its buffers; strings as bytes, not yet decoded.

    Arrow trusts what a file says; a damaged one would make it read outside its memory.
    """
    kind = column.type
    if pa.types.is_string(kind):
        column = column.view(pa.binary())
    elif pa.types.is_large_string(kind):
        column = column.view(pa.large_binary())
    elif pa.types.is_dictionary(kind):
        values = _checked(column.dictionary)
        column = pa.DictionaryArray.from_arrays(column.indices, values, safe=False)
    column.validate(full=True)
    return column


def _texts(source: TableSource, column: pa.Array) -> list[bytes | None]:
    """The column as bytes: Arrow does not check that strings in a file are UTF-8, so we do."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if not any(test(kind) for test in (*STRINGS, *BINARIES)):
        raise NoText(f"column {source.text_field!r} holds {kind}, expected text")
    return column.cast(pa.large_binary()).to_pylist()


def _values(column: pa.Array, writer: PartWriter, lost: str) -> list[Any]:
    """The column as Python has it; a value that it cannot hold is None, counted as `lost`."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        values = column.to_pylist()
    except UNTRANSLATABLE:
        values = [_translated(scalar) for scalar in column]
    plain = [_plain(value) for value in values]
    if num_lost := plain.count(None) - column.null_count:
        writer.counts[lost] += num_lost
    return plain


def _translated(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UNTRANSLATABLE:
        return None


def _plain(value: Any) -> Any:
    """Bytes as text where they are text: strings were taken as bytes to be checked."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return value
