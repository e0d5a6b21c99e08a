"""JSON Lines, plain or compressed: one object per line, one document per object.

line -> orjson (fast) -> document
             \\-> json (exact: surrogates, duplicate keys, NaN) -> document or quarantine
"""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import orjson

from pipeline.corpus.sources.fields import FieldSource, id_of
from pipeline.corpus.sources.file_source import BYTE_ORDER_MARK, RecordSource, position
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter, RowWriter
from pipeline.corpus.sources.records import Record

# An ASCII letter of a key, written as an escape: `"\u0074ext"` is `"text"` too.
ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")


class JsonlSource(RecordSource, FieldSource):
    """JSON Lines files (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`)."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    kind: Literal["jsonl"] = "jsonl"

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every line of the unit's files."""
        for file in unit.files:
            parse_jsonl(self, file, writer)


def parse_jsonl(source: JsonlSource, file: InputFile, writer: PartWriter) -> None:
    """Read one file or piece of JSON Lines; rows count from 0, blank lines included."""
    rows = source.row_writer(file, writer)
    # A watched key seen twice may be a duplicate, of which orjson silently keeps the last.
    watched = {name: f'"{name}"'.encode() for name in (source.text_field, source.id_field)}
    text_key, id_key = source.text_field, source.id_field
    quoted = tuple(watched.values())
    blank = 0
    before = writer.num_documents + writer.counts["quarantined"]
    for record in source.records(file, writer):
        line = record.data or b""
        if record.index == 0:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            blank += 1  # here, as a compressed file of nothing but newlines holds very many
            continue
        try:
            row = orjson.loads(line)
            text = row[text_key]
            own = row.get(id_key)
            usual = type(text) is str and (own is None or type(own) is str)
            # As many quotes as keys and string values need: no key was there twice. Else look.
            needed = 2 * (len(row) + [type(value) for value in row.values()].count(str))
            if line.count(b'"') != needed:
                usual = usual and all(line.count(key) < 2 for key in quoted)
                usual = usual and ESCAPED_ASCII.search(line) is None
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError):
            usual = False
        if usual:
            # Valid UTF-8 by its parser; a line is never shorter than the text it holds.
            rows.add_valid(
                text, record.index, own, source.metadata_of(row, writer), record.num_bytes
            )
        elif line.strip():
            _add_unusual(source, file, record, line, rows)
        else:
            blank += 1
    if blank:
        writer.skip("blank_line", blank)
    elif writer.num_documents + writer.counts["quarantined"] == before:
        writer.skip("empty_file")


class BadRecord(ValueError):
    """A record that cannot become a document: a reason code and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _add_unusual(
    source: JsonlSource, file: InputFile, record: Record, line: bytes, rows: RowWriter
) -> None:
    """A line that the fast way did not settle, read exactly."""
    writer = rows.writer
    try:
        row = _parse_exactly(line, watched=(source.text_field, source.id_field))
        text = text_of(row, source.text_field)
    except BadRecord as bad:
        detail = bad.detail
        if record.index == 0 and line.lstrip().startswith(b"["):
            detail += "; an array is no JSON Lines, write one object per line: jq -c '.[]'"
        writer.quarantine(file.name, position(record), bad.reason, detail)
        return
    rows.add(
        text,
        record.index,
        doc_id=id_of(row.get(source.id_field), writer),
        metadata=source.metadata_of(row, writer),
    )


def _parse_exactly(line: bytes, *, watched: tuple[str, ...]) -> Mapping[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        utf16 = line.startswith((b"\xff\xfe", b"\xfe\xff"))
        detail = "UTF-16; JSON Lines are UTF-8, convert the file" if utf16 else str(error)
        raise BadRecord("invalid_utf8", detail) from error
    try:
        row = json.loads(text, object_pairs_hook=_Object)
    except RecursionError as error:
        raise BadRecord("too_deep", "nested deeper than the parser goes") from error
    except ValueError as error:  # JSONDecodeError, or an integer of more than 4,300 digits
        raise BadRecord("bad_json", str(error)) from error
    if not isinstance(row, _Object):
        raise BadRecord("not_an_object", f"a JSON {type(row).__name__}, expected an object")
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
            seen: set[str] = set()
            for key, _ in pairs:
                (self.repeated if key in seen else seen).add(key)


def text_of(row: Mapping[str, Any], field: str) -> str:
    """The text of a row, or BadRecord when it is missing or no string."""
    if field not in row:
        found = ", ".join(map(repr, list(row)[:8])) or "no keys"
        raise BadRecord("missing_text", f"no {field!r} among {found}")
    text = row[field]
    if not isinstance(text, str):
        raise BadRecord("text_not_a_string", f"{field!r} is a {type(text).__name__}")
    return text
