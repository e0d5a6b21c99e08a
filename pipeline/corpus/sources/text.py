"""Plain text and Markdown: one document per file, or many where a separator says so.

Small files share parts: names are hashed into a power of two of buckets, so adding one file to a
directory rebuilds one part.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.corpus.sources.buckets import LARGE_FILE_BYTES, bucketed
from pipeline.corpus.sources.file_source import BYTE_ORDER_MARK, EncodedSource, position
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter, RowWriter
from pipeline.corpus.sources.records import Record

NO_SEPARATOR = b"\xff\xff\xff\xff"  # no byte of valid UTF-8 is 0xff: the whole file is one record


class TextSource(EncodedSource):
    """Text files (`.txt`, `.md`, `.rst`, also compressed)."""

    kind: Literal["text"] = "text"
    suffixes: tuple[str, ...] = Field(
        (".txt", ".md", ".markdown", ".rst"),
        title="Suffixes",
        description="What to take from directories.",
    )
    separator: str | None = Field(
        None,
        min_length=1,
        title="Separator",
        description="Text between documents of one file, e.g. `<|endoftext|>`; absent: none.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Suffixes only choose files."""
        return super().not_identity() | {"suffixes"}

    def suffixes_wanted(self) -> tuple[str, ...]:
        """As the user says."""
        return self.suffixes

    def cut_at(self) -> bytes | None:
        """The separator; a file without one is one document."""
        if self.separator is None or self.encoding != "utf-8":
            return None
        return self.separator.encode("utf-8")

    def units(self, root: Path) -> list[InputUnit]:
        """Large files alone, small ones in buckets."""
        large = self.split_bytes if self.separator is not None else LARGE_FILE_BYTES
        return bucketed(self.found(), large_bytes=large)

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every document of the unit's files."""
        for file in unit.files:
            parse_text(self, file, writer)


def parse_text(source: TextSource, file: InputFile, writer: PartWriter) -> None:
    """Read one text file; ids are `<source>/<file stem>`, with a separator also `/<row>`."""
    rows = writer.rows(file.name, segment=file.segment, first_row=file.first_row)
    separator = source.separator.encode("utf-8") if source.separator is not None else None
    quarantined = writer.counts["quarantined"]
    is_empty = True
    for record in source.records(
        file, writer, separator=separator or NO_SEPARATOR, encoding=source.encoding
    ):
        is_empty = False
        _add_record(source, record, rows, whole=separator is None)
    if is_empty and writer.counts["quarantined"] == quarantined:
        writer.skip("empty_file")


def _add_record(source: TextSource, record: Record, rows: RowWriter, *, whole: bool) -> None:
    writer = rows.writer
    data = record.data or b""
    if record.index == 0:
        data = data.removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        writer.skip("empty_file" if whole else "blank_record")
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if source.encoding != "utf-8":
            detail = f"not {source.encoding} at about byte {record.offset + error.start}"
        elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
            detail = "UTF-16; convert it to UTF-8 or set encoding: utf-16"
        else:
            detail = f"{error}; convert it to UTF-8 or set encoding"
        where = "file" if whole else position(record)
        writer.quarantine(rows.file, where, "invalid_utf8", detail)
        return
    if whole:
        rows.add_whole(text)
    else:
        rows.add(text, record.index)
