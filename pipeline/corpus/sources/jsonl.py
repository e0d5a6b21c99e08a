"""JSON Lines, plain or compressed: one object per line, one document per object.

line -> orjson (fast) -> document
             \\-> json (exact: surrogates, duplicate keys, NaN) -> document or quarantine
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field

from pipeline.corpus.sources.files import find_files, stem
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.records import Break, Limits, Record, read_records
from pipeline.corpus.sources.unit import InputFile, InputUnit, Source

SUFFIXES = (".jsonl", ".ndjson", ".json")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RecordSource(Source):
    """What the line-oriented sources share: where files lie and the bounds on one of them."""

    paths: tuple[str, ...] = Field(
        title="Paths", description="Files, directories (searched recursively) or globs."
    )
    max_line_bytes: int = Field(
        16 << 20,
        ge=1,
        le=1 << 30,
        title="Longest record",
        description="Bytes of the longest record read; a longer one is quarantined.",
    )
    max_expansion_ratio: float = Field(
        250.0,
        gt=1.0,
        title="Largest expansion",
        description="Decompressed over compressed bytes at which reading a file stops.",
    )
    max_expanded_bytes: int = Field(
        1 << 40,
        ge=1,
        title="Largest file",
        description="Decompressed bytes at which reading a file stops.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Paths are found by name and content."""
        return super().not_identity() | {"paths"}

    def limits(self) -> Limits:
        """The bounds as the reader of records takes them."""
        return Limits(self.max_line_bytes, self.max_expansion_ratio, self.max_expanded_bytes)

    def records(
        self, file: InputFile, writer: PartWriter, *, separator: bytes = b"\n"
    ) -> Iterator[Record]:
        """The records within the limits; the others, and a break, go to quarantine."""
        for record in read_records(Path(file.path), limits=self.limits(), separator=separator):
            if isinstance(record, Break):
                writer.quarantine(
                    file.name, "end of what is readable", record.reason, record.detail
                )
                writer.counts["breaks"] += 1
            elif record.data is None:
                writer.quarantine(
                    file.name, position(record), "too_long",
                    f"{record.num_bytes} bytes, the limit max_line_bytes is {self.max_line_bytes}",
                )  # fmt: skip
            else:
                yield record


class JsonlSource(RecordSource):
    """JSON Lines files (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`)."""

    kind: Literal["jsonl"] = "jsonl"
    text_field: str = Field("text", title="Text field", description="Key that holds the text.")
    id_field: str = Field(
        "id", title="Id field", description="Key that holds the id; absent: `<file stem>/<row>`."
    )
    metadata_fields: tuple[str, ...] = Field(
        (), title="Metadata fields", description="Keys kept as metadata of the document."
    )

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per file."""
        files = find_files(self.paths, suffixes=SUFFIXES, source=self.name)
        return [InputUnit(file.name, (file,)) for file in files]

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every line of the unit's files."""
        parse_jsonl(self, unit, writer)


def parse_jsonl(source: JsonlSource, unit: InputUnit, writer: PartWriter) -> None:
    """Read one unit of JSON Lines; rows count from 0, blank lines included."""
    for file in unit.files:
        for record in source.records(file, writer):
            line = record.data or b""
            if record.index == 0:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                _add_line(source, file, record, line, writer)


def position(record: Record) -> str:
    """Where a record is, as the quarantine says it; lines count from 1."""
    return f"line {record.index + 1} (byte {record.offset})"


class BadRecord(ValueError):
    """A record that cannot become a document: a reason code and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _add_line(
    source: JsonlSource, file: InputFile, record: Record, line: bytes, writer: PartWriter
) -> None:
    try:
        row = _parse_line(line, watched=(source.text_field, source.id_field))
        text = text_of(row, source.text_field)
    except BadRecord as bad:
        writer.quarantine(file.name, position(record), bad.reason, bad.detail)
        return
    writer.add(
        text,
        doc_id=id_of(row.get(source.id_field), writer),
        fallback_id=f"{stem(file.name)}/{record.index}",
        metadata={key: row[key] for key in source.metadata_fields if key in row},
    )


def _parse_line(line: bytes, *, watched: tuple[str, ...]) -> dict[str, Any]:
    """The object on a line, or BadRecord. Fast unless the line is unusual."""
    try:
        row = orjson.loads(line)
        # A watched key seen twice may be a duplicate, of which orjson silently keeps the last.
        unusual = any(line.count(f'"{key}"'.encode()) > 1 for key in watched)
    except orjson.JSONDecodeError:
        unusual = True
    if unusual:
        row = _parse_exactly(line, watched=watched)
    if not isinstance(row, dict):
        raise BadRecord("not_an_object", f"a JSON {type(row).__name__}, expected an object")
    return row


def _parse_exactly(line: bytes, *, watched: tuple[str, ...]) -> Any:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecord("invalid_utf8", str(error)) from error
    try:
        row = json.loads(text, object_pairs_hook=_Object)
    except RecursionError as error:
        raise BadRecord("too_deep", "nested deeper than the parser goes") from error
    except ValueError as error:  # JSONDecodeError, or an integer of more than 4,300 digits
        raise BadRecord("bad_json", str(error)) from error
    if isinstance(row, _Object):
        repeated = [key for key in watched if key in row.repeated]
        if repeated:
            raise BadRecord("duplicate_key", f"{repeated[0]!r} occurs more than once")
    return row


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys occurred twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: set[str] = set()
        if len(self) < len(pairs):
            keys = [key for key, _ in pairs]
            self.repeated = {key for key in self if keys.count(key) > 1}


def text_of(row: dict[str, Any], field: str) -> str:
    """The text of a row, or BadRecord when it is missing or no string."""
    if field not in row:
        found = ", ".join(map(repr, list(row)[:8])) or "no keys"
        raise BadRecord("missing_text", f"no {field!r} among {found}")
    text = row[field]
    if not isinstance(text, str):
        raise BadRecord("text_not_a_string", f"{field!r} is a {type(text).__name__}")
    return text


def id_of(value: Any, writer: PartWriter) -> str | None:
    """The id as a string; None where it is absent or of a type no id has (counted)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    writer.counts["replaced_ids"] += 1
    return None
