"""What a document is on its way through the corpus: one Arrow schema and a batch of its rows.

    documents.arrow (IPC file, memory-mapped) -> iter_batches -> TextBatch -> filters, rewrites

A TextBatch is a slice of the file; everything derived from its text is computed once and shared by
all filters that look at it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from pipeline.corpus.arrow_arrays import number_array, string_array
from pipeline.store.errors import ArtifactError

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),  # a JSON object
    ]
)


CLEANED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("language", pa.string()))
"""A cleaned document: null where no step asked for the language."""


@dataclass(frozen=True)
class TextBatch:
    """Some documents as an Arrow table; N rows in order, never shuffled.

    `table` needs a column `text` (string or large_string, no nulls); the rest is carried along.
    """

    table: pa.Table

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        doc_ids: Sequence[str] | None = None,
        *,
        source: str = "memory",
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> "TextBatch":
        """A batch from Python strings; ids are `<source>/<row>` when absent."""
        ids = list(doc_ids) if doc_ids is not None else [f"{source}/{i}" for i in range(len(texts))]
        facts = ["{}"] * len(texts) if metadata is None else [json.dumps(m) for m in metadata]
        columns = [ids, list(texts), [source] * len(texts), facts]
        arrays = [string_array(c, large=i == 1) for i, c in enumerate(columns)]
        return cls(pa.table(arrays, schema=DOCUMENT_SCHEMA))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def text_array(self) -> pa.LargeStringArray:
        """The texts as one contiguous Arrow array; zero-copy when the table is one record batch."""
        column = self.table.column("text")
        if column.num_chunks == 0:
            return string_array([], large=True)
        if column.type != pa.large_string():
            column = column.cast(pa.large_string())
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) int64: text i is `data[offsets[i]:offsets[i + 1]]`; offsets[0] may exceed 0."""
        array = self.text_array
        if len(array) == 0:
            return np.zeros(1, np.int64)
        buffer = array.buffers()[1]
        return np.frombuffer(buffer, np.int64, count=len(array) + 1, offset=array.offset * 8)

    @cached_property
    def data(self) -> npt.NDArray[np.uint8]:
        """The UTF-8 bytes that `offsets` points into: read-only, shared with Arrow."""
        buffer = self.text_array.buffers()[2] if len(self) else None
        return np.frombuffer(buffer, np.uint8) if buffer is not None else np.zeros(0, np.uint8)

    @cached_property
    def num_bytes(self) -> npt.NDArray[np.int64]:
        """(N,) UTF-8 bytes of each text."""
        return np.diff(self.offsets)

    @cached_property
    def texts(self) -> list[str]:
        """The texts as Python strings."""
        return self.text_array.to_pylist()

    @cached_property
    def num_chars(self) -> npt.NDArray[np.int64]:
        """(N,) code points of each text."""
        return np.fromiter(map(len, self.texts), np.int64, count=len(self))

    @cached_property
    def words(self) -> list[list[str]]:
        """Whitespace-separated words of each text (`str.split`)."""
        return [text.split() for text in self.texts]

    @cached_property
    def lines(self) -> list[list[str]]:
        r"""Lines of each text, split at `\n` only: the newline normalisation comes first."""
        return [text.split("\n") for text in self.texts]

    @cached_property
    def doc_ids(self) -> list[str]:
        """The document ids."""
        return self.table.column("doc_id").to_pylist()

    @cached_property
    def sources(self) -> list[str]:
        """The name of each document's source."""
        return self.table.column("source").to_pylist()

    def slice(self, start: int, count: int) -> "TextBatch":
        """Rows `start` to `start + count`, zero-copy; derived values are not shared."""
        return TextBatch(self.table.slice(start, count))

    def filtered(self, keep: npt.NDArray[np.bool_]) -> "TextBatch":
        """The rows where `keep` (N,) is true, in order."""
        return TextBatch(self.table.filter(number_array(keep)))

    def with_texts(self, texts: Sequence[str]) -> "TextBatch":
        """The same documents with rewritten texts (N of them)."""
        index = self.table.schema.get_field_index("text")
        field = pa.field("text", pa.large_string(), nullable=False)
        column = string_array(texts, large=True)
        return TextBatch(self.table.set_column(index, field, column))


def metadata_column(batch: TextBatch, key: str) -> list[str | None]:
    """N values of one key of the metadata as strings; None where it is absent or null."""
    cache: dict[str, list[str | None]] = batch.__dict__.setdefault("_metadata_columns", {})
    if key not in cache:
        cache[key] = _metadata_values(batch, key)
    return cache[key]


def _metadata_values(batch: TextBatch, key: str) -> list[str | None]:
    values: list[str | None] = [None] * len(batch)
    if "metadata" not in batch.table.column_names:
        return values
    # Most corpora lack most keys: look for the key's bytes before parsing anything.
    needle = json.dumps(key)
    for row, text in enumerate(batch.table.column("metadata").to_pylist()):
        value = orjson.loads(text).get(key) if needle in text else None
        if value is not None:
            values[row] = value if isinstance(value, str) else str(value)
    return values


def iter_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[TextBatch]:
    """The record batches of an Arrow IPC file of documents, memory-mapped, one at a time."""
    with open_documents(path) as reader:
        for i in range(reader.num_record_batches):
            table = pa.Table.from_batches([reader.get_batch(i)])
            yield TextBatch(table.select(list(columns)) if columns is not None else table)


def open_documents(path: Path) -> pa.RecordBatchFileReader:
    """Open an Arrow IPC file by memory map; ArtifactError when it is missing or not one."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtifactError(
            f"{path} is not a readable Arrow IPC file ({error}); delete {path.parent} and rerun"
        ) from error
