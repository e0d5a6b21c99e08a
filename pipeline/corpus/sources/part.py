"""Writing one part: documents stream into an Arrow IPC file, bad records into a quarantine.

    rows(file).add / add / quarantine / skip -> PartWriter -> documents.arrow + quarantine.jsonl
                                                              + counts for the manifest

Memory holds one record batch (at most 1,000 documents or 8 MB) and the hashes of at most
MAX_TRACKED_IDS ids.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson
import xxhash

from pipeline.corpus.sources.arrow_writer import DocumentWriter
from pipeline.corpus.sources.inputs import stem

MAX_LISTED = 10_000  # bad records written out per part and reason; all are counted
MAX_ID_CHARS = 1_000  # guess: longer ids are contents put in the wrong column
MAX_TRACKED_IDS = 2_000_000  # 80 bytes each in a set: 160 MB; then ids get a new prefix
IdScope = Literal["file", "corpus"]


class PartWriter:
    """Collects what a reader finds in one unit; use it as a context manager."""

    def __init__(self, directory: Path, *, source: str) -> None:
        self.directory = directory
        self.source = source
        self.counts: Counter[str] = Counter()
        """`quarantined`, `breaks`, `repaired_surrogates`, `duplicate_ids`..."""
        self.reasons: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        """What is no document and no fault either: empty files, redirects, pages of no text..."""
        self._documents = DocumentWriter(directory / "documents.arrow", source)
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

    @property
    def num_documents(self) -> int:
        """Documents added so far."""
        return self._documents.num_documents

    @property
    def num_bytes(self) -> int:
        """Bytes of text added so far."""
        return self._documents.num_bytes

    def rows(
        self, file: str, *, scope: IdScope = "file", segment: int = 0, first_row: int = 0
    ) -> "RowWriter":
        """Where the rows of one file (or piece of one) are added; `file` is its name."""
        return RowWriter(self, file, scope=scope, segment=segment, first_row=first_row)

    def add(self, text: str, *, doc_id: str, metadata: Mapping[str, Any] | None = None) -> str:
        """Add a document whose id is its own in the whole corpus; returns the id it got.

        A repeated id becomes `<id>#2`; lone surrogates become U+FFFD, counted; metadata that is no
        valid JSON is dropped, counted.
        """
        text, num_bytes = self.measured(text)
        doc_id = self.unique(self.measured(doc_id)[0])
        self.write(doc_id, text, self.metadata_json(metadata or {}), num_bytes)
        return doc_id

    def write(self, doc_id: str, text: str, metadata: str, size: int) -> None:
        """Append a document that is valid UTF-8 and of unique id; `size` bounds its bytes."""
        self._documents.add(doc_id, text, metadata, size)

    def quarantine(self, file: str, position: str, reason: str, detail: str = "") -> None:
        """Count one bad record and write where it was; `reason` is a code, `detail` for people."""
        self.counts["quarantined"] += 1
        self.reasons[reason] += 1
        if self.reasons[reason] <= MAX_LISTED:
            record = {"file": file, "position": position, "reason": reason, "detail": detail[:300]}
            self._quarantine.write(json.dumps(record, sort_keys=True) + "\n")

    def broken(self, file: str, position: str, reason: str, detail: str = "") -> None:
        """Quarantine all that follows `position` in a file as one record, and count the break."""
        self.quarantine(file, position, reason, detail)
        self.counts["breaks"] += 1

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what is no document and no fault either."""
        self.skipped[reason] += count

    def facts(self) -> dict[str, Any]:
        """The counts for the manifest; what is pending is written first."""
        self._documents.flush()
        documents = self._documents
        return {
            "documents": self.num_documents,
            "bytes": documents.num_bytes,
            "quarantined": 0,
            **self.counts,
            "quarantine_reasons": dict(sorted(self.reasons.items())),
            "skipped": dict(sorted(self.skipped.items())),
        }

    def measured(self, text: str) -> tuple[str, int]:
        """(text without lone surrogates, its UTF-8 bytes); what was repaired is counted."""
        if text.isascii():
            return text, len(text)
        try:
            return text, len(text.encode("utf-8"))
        except UnicodeEncodeError:
            self.counts["repaired_surrogates"] += 1
            # A pair of escaped halves becomes its character, a lone half U+FFFD.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return text, len(text.encode("utf-8"))

    def unique(self, doc_id: str) -> str:
        """The id, or `<id>#2`, `<id>#3`... if this part has it already (counted)."""
        candidate, copies = doc_id, 1
        while (key := xxhash.xxh3_64_intdigest(candidate.encode())) in self._ids:
            copies += 1
            candidate = f"{doc_id}#{copies}"
        self._ids.add(key)
        if copies > 1:
            self.counts["duplicate_ids"] += 1
        return candidate

    def metadata_json(self, metadata: Mapping[str, Any]) -> str:
        """A JSON object with sorted keys; values that JSON cannot hold are left out, counted."""
        if not metadata:
            return "{}"
        try:
            return _dumps(metadata)
        except orjson.JSONEncodeError:  # lone surrogates, integers beyond 64 bits, deep nesting
            self.counts["dropped_metadata"] += 1
        usable = {}
        for key, value in metadata.items():
            try:
                _dumps({key: value})
            except orjson.JSONEncodeError:
                continue
            usable[key] = value
        return _dumps(usable)

    def is_full(self) -> bool:
        """Whether as many ids are tracked as memory allows."""
        return len(self._ids) >= MAX_TRACKED_IDS

    def forget_ids(self) -> None:
        """Start anew with tracking: the caller changes the prefix of what follows."""
        self._ids.clear()


class RowWriter:
    """Adds the rows of one file; ids are unique in the corpus and metadata says file and row.

    Scope `file`: `<source>/<file stem>/<own id or row>`, so that rows of two files never share an
    id. Scope `corpus`: an own id is taken as it is. The n-th piece of a file says so: `<stem>@n`.
    """

    def __init__(
        self, writer: PartWriter, file: str, *, scope: IdScope, segment: int, first_row: int
    ) -> None:
        self.writer = writer
        self.file = file
        self._scope = scope
        self._home = f"{writer.source}/{stem(file)}"
        self._prefix = f"{self._home}@{segment + 1}/" if segment else f"{self._home}/"
        self._segment = segment
        self._rolls = 0
        # Rows before the first own id need no tracking: their ids are these numbers.
        self._first_row = first_row
        self._numbered = first_row  # where that run of rows ends
        self._any_own = False
        self._head = orjson.dumps({"file": file}).decode()[:-1] + ',"row":'

    def add(
        self,
        text: str,
        row: int,
        *,
        doc_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row of the file, numbered from 0 (or by its byte offset).

        An empty or overlong id is replaced by the row's number, counted; lone surrogates become
        U+FFFD, counted.
        """
        text, num_bytes = self.writer.measured(text)
        if doc_id is not None:
            doc_id = self.writer.measured(doc_id)[0]
        self.add_valid(text, row, doc_id, metadata, num_bytes)

    def add_valid(
        self,
        text: str,
        row: int,
        own: str | None,
        metadata: Mapping[str, Any] | None,
        size: int,
    ) -> None:
        """As `add`, for strings without lone surrogates; `size` is at least the text's bytes."""
        if metadata:
            facts = self.writer.metadata_json({**metadata, "file": self.file, "row": row})
        else:
            facts = f"{self._head}{row}}}"
        if own is None and not self._any_own:
            self._numbered = row + 1
            doc_id = f"{self._prefix}{row}"
        else:
            doc_id = self._id(row, own)
        self.writer.write(doc_id, text, facts, size)

    def add_whole(self, text: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Add a file that is one document; its id is `<source>/<file stem>`."""
        writer = self.writer
        text, num_bytes = writer.measured(text)
        facts = writer.metadata_json({**(metadata or {}), "file": self.file, "row": 0})
        writer.write(writer.unique(self._home), text, facts, num_bytes)

    def _id(self, row: int, own: str | None) -> str:
        writer = self.writer
        if writer.is_full():
            self._roll()
        if own is not None and not 0 < len(own) <= MAX_ID_CHARS:
            writer.counts["replaced_ids"] += 1
            own = None
        if own is None:
            if not self._any_own:
                self._numbered = row + 1
                return f"{self._prefix}{row}"
            return writer.unique(f"{self._prefix}{row}")
        self._any_own = True
        if self._scope == "corpus":
            return writer.unique(own)
        if self._first_row < self._numbered and own.isdigit() and self._is_numbered(own):
            own = f"{own}#own"
        return writer.unique(self._prefix + own)

    def _is_numbered(self, own: str) -> bool:
        """Whether a row without an id of its own has this number for an id."""
        plain = own.isascii() and (own == "0" or own[0] != "0") and len(own) < 20
        return plain and self._first_row <= int(own) < self._numbered

    def _roll(self) -> None:
        """Forget the ids so far: what follows has a prefix of its own and cannot meet them."""
        self.writer.forget_ids()
        if self._scope == "corpus":
            return  # compared across the whole corpus when all parts are there
        self._rolls += 1
        self._prefix = f"{self._home}@{self._segment + 1}.{self._rolls}/"
        self._numbered = self._first_row


def _dumps(value: Mapping[str, Any]) -> str:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(dict(value), option=options, default=_text_of).decode("utf-8")


def _text_of(value: Any) -> str:
    """Decimals, durations and the like as people write them; bytes are refused."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are no text")
    return str(value)
