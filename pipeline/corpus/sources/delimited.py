"""CSV and TSV: the first row names the fields, quoted fields may hold newlines.

    physical lines -> logical rows (quotes balanced) -> fields -> document or quarantine

A quote that is never closed costs its own line: reading goes on with the next one, in bounded
memory, instead of swallowing the file.
"""

import csv
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.corpus.sources.fields import FieldSource
from pipeline.corpus.sources.file_source import BYTE_ORDER_MARK, EncodedSource
from pipeline.corpus.sources.inputs import InputFile, InputUnit, has_suffix, without_compression
from pipeline.corpus.sources.part import PartWriter, RowWriter
from pipeline.corpus.sources.records import Record

QUOTE = b'"'


class CsvSource(EncodedSource, FieldSource):
    """Comma- or tab-separated files (`.csv`, `.tsv`, also compressed), quoted with `"`."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")
    kind: Literal["csv"] = "csv"
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        pattern=r'^[^"\n\r]$',
        title="Delimiter",
        description="Character between fields; absent: tab for `.tsv` and `.tab`, else comma.",
    )
    header: tuple[str, ...] = Field(
        (), title="Header", description="Names of the fields, where the first row is data already."
    )

    def cut_at(self) -> bytes | None:
        """At no byte for sure: a newline may be inside a quoted field."""
        return None

    def delimiter_of(self, name: str) -> str:
        """The delimiter of a file by its name."""
        if self.delimiter is not None:
            return self.delimiter
        return "\t" if has_suffix(without_compression(name), (".tsv", ".tab")) else ","

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's files."""
        for file in unit.files:
            parse_csv(self, file, writer)


@dataclass(slots=True)  # not frozen: made once per row
class _Row:
    """One logical row: the record it begins with, its bytes, and what is wrong with them."""

    first: Record
    data: bytes
    fault: str | None = None


def parse_csv(source: CsvSource, file: InputFile, writer: PartWriter) -> None:
    """Read one file; rows count from 0 behind the header, blank ones included."""
    rows = source.row_writer(file, writer)
    reader = _Reader(source, file, rows)
    for row in _logical_rows(source, file, writer):
        reader.add(row)
    if reader.header is None and reader.is_empty:
        writer.skip("empty_file")


class _Reader:
    """Turns the logical rows of one file into documents; the first one may be the header."""

    def __init__(self, source: CsvSource, file: InputFile, rows: RowWriter) -> None:
        self.source = source
        self.file = file
        self.rows = rows
        self.header: list[str] | None = list(source.header) or None
        self.is_empty = True
        self._usable = self.header is None or self._check_header(self.header)
        self._delimiter = source.delimiter_of(file.name)
        self._row = 0

    def add(self, row: _Row) -> None:
        """Take the next logical row."""
        self.is_empty = False
        writer = self.rows.writer
        if row.fault is None and not row.data.strip():
            self._row += self.header is not None
            writer.skip("blank_line")
            return
        if self.header is None:
            self._take_header(row)
            return
        number, self._row = self._row, self._row + 1
        if not self._usable:
            return  # the file was quarantined as a whole
        if row.fault is not None:
            self._refuse(row, row.fault, "a quote opens in this line and never closes")
            return
        try:
            fields = self._fields(row.data)
        except UnicodeDecodeError as error:
            self._refuse(row, "invalid_utf8", f"not {self.source.encoding}: {error.reason}")
            return
        except csv.Error as error:
            self._refuse(row, "bad_csv", str(error))
            return
        self._add_fields(row, number, fields)

    def _add_fields(self, row: _Row, number: int, fields: list[str]) -> None:
        assert self.header is not None
        source, writer = self.source, self.rows.writer
        if len(fields) != len(self.header):
            detail = f"{len(fields)} fields, the header has {len(self.header)}"
            self._refuse(row, "ragged_row", detail)
            return
        values = {name: value for name, value in zip(self.header, fields, strict=True) if value}
        text = values.get(source.text_field)
        if text is None:
            self._refuse(row, "missing_text", f"{source.text_field!r} is empty")
            return
        own = values.get(source.id_field)
        self.rows.add(text, number, doc_id=own, metadata=source.metadata_of(values, writer))

    def _take_header(self, row: _Row) -> None:
        try:
            if row.fault is not None:
                raise csv.Error("a quote opens in the header and never closes")
            header = [name.strip() for name in self._fields(row.data)]
        except (UnicodeDecodeError, csv.Error) as error:
            self.header = []
            self._usable = False
            self.rows.writer.broken(self.file.name, "header", "bad_csv", str(error))
            return
        self.header = header
        self._usable = self._check_header(header)

    def _check_header(self, header: list[str]) -> bool:
        writer, source = self.rows.writer, self.source
        if source.text_field not in header:
            found = ", ".join(map(repr, header[:20]))
            detail = f"no field {source.text_field!r} among {found}; set text_field or header"
            writer.broken(self.file.name, "header", "missing_column", detail)
            return False
        repeated = [name for name in source.fields() if header.count(name) > 1]
        if repeated:
            detail = f"{repeated[0]!r} names more than one field"
            writer.broken(self.file.name, "header", "duplicate_key", detail)
            return False
        return True

    def _fields(self, data: bytes) -> list[str]:
        text = data.decode("utf-8")
        # Fields are at most as long as the row, which is within max_line_bytes already.
        if len(text) >= csv.field_size_limit():
            csv.field_size_limit(max(len(text) + 1, csv.field_size_limit()))
        found = list(csv.reader([text], delimiter=self._delimiter, strict=True))
        if len(found) != 1:
            raise csv.Error("a line ends inside the row where no quote is open")
        return found[0]

    def _refuse(self, row: _Row, reason: str, detail: str) -> None:
        where = f"line {row.first.index + 1} (byte {row.first.offset})"
        self.rows.writer.quarantine(self.file.name, where, reason, detail)


def _logical_rows(source: CsvSource, file: InputFile, writer: PartWriter) -> Iterator[_Row]:
    """Lines joined until their quotes are balanced; an open quote is given up with its line."""
    waiting: list[Record] = []  # the lines of a row whose quote is open
    held = 0
    for record in source.records(file, writer, encoding=source.encoding):
        data = record.data or b""
        if record.index == 0:
            record.data = data = data.removeprefix(BYTE_ORDER_MARK)
        is_odd = data.count(QUOTE) & 1 == 1
        if not waiting and not is_odd:
            yield _Row(record, data.removesuffix(b"\r"))
            continue
        waiting.append(record)
        held += record.num_bytes + 1
        if is_odd and len(waiting) > 1:
            yield _joined(waiting)
            waiting, held = [], 0
        elif held > source.max_line_bytes:
            waiting = yield from _reread(waiting)
            held = sum(one.num_bytes + 1 for one in waiting)
    while waiting:
        waiting = yield from _reread(waiting)


def _reread(lines: list[Record]) -> Generator[_Row, None, list[Record]]:
    """Give up the first line, whose quote stays open; returns the lines that are open behind it."""
    first, *rest = lines
    yield _Row(first, b"", fault="unclosed_quote")
    waiting: list[Record] = []
    for record in rest:
        waiting.append(record)
        is_odd = (record.data or b"").count(QUOTE) & 1 == 1
        if is_odd == (len(waiting) > 1):
            yield _joined(waiting)
            waiting = []
    return waiting


def _joined(records: list[Record]) -> _Row:
    data = b"\n".join(record.data or b"" for record in records)
    return _Row(records[0], data.removesuffix(b"\r"))
