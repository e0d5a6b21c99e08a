"""Arrow IPC files written in bounded record batches: rows of any schema, and documents.

A batch holds at most 1,000 documents or 8 MB, so that whoever reads one part needs no more.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.arrow_arrays import string_array
from pipeline.corpus.document import DOCUMENT_SCHEMA

BATCH_DOCUMENTS = 1_000
BATCH_BYTES = 8_000_000


class ArrowWriter:
    """Rows into an Arrow IPC file in bounded record batches; fsynced when it closes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._sink = open(path, "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], *, num_bytes: int) -> None:
        """Append one row, in the order of the schema; `num_bytes` is its approximate size."""
        if self._rows and self._bytes + num_bytes > BATCH_BYTES:
            self.flush()
        self._rows.append(row)
        self._bytes += num_bytes
        if len(self._rows) >= BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows as one record batch."""
        if self._rows:
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*self._rows, strict=True), self.schema, strict=True)
            ]
            self.write(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        self._rows, self._bytes = [], 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a record batch that is made already."""
        self._writer.write_batch(batch)

    def close(self, *, complete: bool = True) -> None:
        """Finish the file; an incomplete one is only closed."""
        try:
            if complete:
                self.flush()
                self._writer.close()
                self._sink.flush()
                os.fsync(self._sink.fileno())
        finally:
            self._sink.close()


class DocumentWriter:
    """Documents into record batches of DOCUMENT_SCHEMA, column by column."""

    def __init__(self, path: Path, source: str) -> None:
        self.num_bytes = 0
        """UTF-8 bytes of the texts written."""
        self._written = 0
        self._source = source
        self._file = ArrowWriter(path, DOCUMENT_SCHEMA)
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._metadata: list[str] = []
        self._pending = 0  # at least the bytes of the pending texts

    @property
    def num_documents(self) -> int:
        """Documents added so far, also those that are not written yet."""
        return self._written + len(self._ids)

    def add(self, doc_id: str, text: str, metadata: str, size: int) -> None:
        """Append a document; `size` is at least the UTF-8 bytes of its text."""
        if self._ids and (self._pending + size > BATCH_BYTES or len(self._ids) == BATCH_DOCUMENTS):
            self.flush()
        self._ids.append(doc_id)
        self._texts.append(text)
        self._metadata.append(metadata)
        self._pending += size

    def flush(self) -> None:
        """Write the pending documents as one record batch."""
        count = len(self._ids)
        if count == 0:
            return
        texts = string_array(self._texts, large=True)
        columns = [
            string_array(self._ids),
            texts,
            string_array([self._source] * count),
            string_array(self._metadata),
        ]
        offsets = np.frombuffer(texts.buffers()[1], np.int64, count=count + 1)
        self.num_bytes += int(offsets[-1] - offsets[0])
        self._written += count
        self._file.write(pa.RecordBatch.from_arrays(columns, schema=DOCUMENT_SCHEMA))
        self._ids, self._texts, self._metadata, self._pending = [], [], [], 0

    def close(self, *, complete: bool) -> None:
        """Finish the file; an incomplete one is only closed."""
        if complete:
            self.flush()
        self._file.close(complete=complete)
