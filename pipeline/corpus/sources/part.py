"""Writing one part: documents stream into an Arrow IPC file, bad records into a quarantine.

    add / quarantine -> PartWriter -> documents.arrow + quarantine.jsonl + counts for the manifest

Memory holds one record batch (at most 1,000 documents or 8 MB) and eight bytes per document id.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa
import xxhash

from pipeline.corpus.document import DOCUMENT_SCHEMA

BATCH_DOCUMENTS = 1_000
BATCH_BYTES = 8_000_000
MAX_LISTED = 10_000  # bad records written out per part and reason; all are counted
MAX_ID_CHARS = 1_000  # guess: longer ids are contents put in the wrong column


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
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        self._rows, self._bytes = [], 0

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


class PartWriter:
    """Collects what a reader finds in one unit; use it as a context manager."""

    def __init__(self, directory: Path, *, source: str) -> None:
        self.directory = directory
        self.source = source
        self.counts: Counter[str] = Counter()
        """`documents`, `bytes`, `quarantined`, `repaired_surrogates`, `duplicate_ids`..."""
        self.reasons: Counter[str] = Counter()
        self._documents = ArrowWriter(directory / "documents.arrow", DOCUMENT_SCHEMA)
        self._quarantine = open(directory / "quarantine.jsonl", "w", encoding="utf-8")
        self._ids: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._documents.close(complete=kind is None)
        finally:
            self._quarantine.flush()
            os.fsync(self._quarantine.fileno())
            self._quarantine.close()

    def add(
        self,
        text: str,
        *,
        doc_id: str | None,
        fallback_id: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a document and return the id it got: its own, the fallback, or either with `#2`...

        Lone surrogates become U+FFFD, counted; metadata that is no valid JSON is dropped, counted.
        """
        text = self._repaired(text)
        if doc_id is not None and not 0 < len(doc_id) <= MAX_ID_CHARS:
            self.counts["replaced_ids"] += 1
            doc_id = None
        doc_id = self._unique(self._repaired(fallback_id if doc_id is None else doc_id))
        facts = self._metadata_json(metadata)
        num_bytes = len(text) if text.isascii() else len(text.encode("utf-8"))
        self._documents.add((doc_id, text, self.source, facts), num_bytes=num_bytes + len(facts))
        self.counts["documents"] += 1
        self.counts["bytes"] += num_bytes
        return doc_id

    def quarantine(self, file: str, position: str, reason: str, detail: str = "") -> None:
        """Count one bad record and write where it was; `reason` is a code, `detail` for people."""
        self.counts["quarantined"] += 1
        self.reasons[reason] += 1
        if self.reasons[reason] <= MAX_LISTED:
            record = {"file": file, "position": position, "reason": reason, "detail": detail[:300]}
            self._quarantine.write(json.dumps(record, sort_keys=True) + "\n")

    def facts(self) -> dict[str, Any]:
        """The counts for the manifest."""
        always = {"documents": 0, "bytes": 0, "quarantined": 0}
        return {**always, **self.counts, "quarantine_reasons": dict(sorted(self.reasons.items()))}

    def _repaired(self, text: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self.counts["repaired_surrogates"] += 1
            # A pair of escaped halves becomes its character, a lone half U+FFFD.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def _unique(self, doc_id: str) -> str:
        candidate, copies = doc_id, 1
        while (key := xxhash.xxh3_64_intdigest(candidate.encode("utf-8"))) in self._ids:
            copies += 1
            candidate = f"{doc_id}#{copies}"
        self._ids.add(key)
        self.counts["duplicate_ids"] += copies > 1
        return candidate

    def _metadata_json(self, metadata: Mapping[str, Any] | None) -> str:
        if not metadata:
            return "{}"
        try:
            return orjson.dumps(dict(metadata), option=orjson.OPT_SORT_KEYS).decode("utf-8")
        except orjson.JSONEncodeError:  # lone surrogates, integers beyond 64 bits, deep nesting
            self.counts["dropped_metadata"] += 1
            return "{}"
