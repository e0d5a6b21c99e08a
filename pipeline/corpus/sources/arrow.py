"""Arrow IPC files and streams (also Feather 2): one document per row, no memory map.

Files are cut between record batches; streams have no index and are read in one piece.
"""

from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.corpus.sources.columns import (
    BATCH_ROWS,
    DAMAGE,
    NoText,
    TableSource,
    add_rows,
    is_ours,
    no_text_column,
)
from pipeline.corpus.sources.file_source import SPLIT_BYTES, FileSource, open_seekable
from pipeline.corpus.sources.inputs import InputFile, InputUnit, Piece
from pipeline.corpus.sources.part import PartWriter
from pipeline.store.memory import within

FILE_MAGIC = b"ARROW1"


class ArrowSource(FileSource, TableSource):
    """Arrow IPC files and streams (`.arrow`, `.ipc`, `.feather`)."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".arrow", ".ipc", ".feather")
    reads_compressed: ClassVar[bool] = False
    kind: Literal["arrow"] = "arrow"
    split_bytes: int = Field(
        SPLIT_BYTES,
        ge=1 << 10,
        title="Large file",
        description="Bytes of record batches that become one part; larger files (not streams) are "
        "cut.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """How a file was cut is in the units."""
        return super().not_identity() | {"split_bytes"}

    def cut_rule(self, file: InputFile) -> str | None:
        """Files of more than `split_bytes` are cut between record batches."""
        if file.is_url or file.num_bytes is None or file.num_bytes <= self.split_bytes:
            return None
        return f"record batches {self.split_bytes}"

    def pieces(self, file: InputFile) -> list[Piece]:
        """Runs of record batches; none for a stream and for what is no Arrow file."""
        with open_seekable(file) as handle:
            if handle.read(len(FILE_MAGIC)) != FILE_MAGIC:
                return []
            try:
                return _cut_batches(handle, file.num_bytes or 0, self.split_bytes)
            except DAMAGE as error:
                if is_ours(error):
                    raise
                return []

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's files."""
        for file in unit.files:
            parse_arrow(self, file, writer)


def _cut_batches(handle: BinaryIO, num_bytes: int, split_bytes: int) -> list[Piece]:
    """Equal runs of record batches, as many as the file holds `split_bytes`."""
    handle.seek(0)
    reader = pa.ipc.open_file(handle)
    batches = reader.num_record_batches
    runs = min(batches, -(-num_bytes // split_bytes))
    if runs < 2:
        return []
    pieces, row = [], 0
    for i in range(runs):
        start, stop = batches * i // runs, batches * (i + 1) // runs
        pieces.append(Piece(start, stop, row, "", num_bytes // runs))
        row += sum(b.num_rows for b in within(reader.get_batch(k) for k in range(start, stop)))
    return pieces


def parse_arrow(source: TableSource, file: InputFile, writer: PartWriter) -> None:
    """Read one file or a run of its batches; what follows damage is quarantined as one break."""
    rows = source.row_writer(file, writer)
    row = file.first_row
    try:
        with open_seekable(file) as handle:
            is_empty = True
            for batch in within(_record_batches(handle, file)):
                if is_empty and source.wanted(batch.schema.names) is None:
                    told = no_text_column(source, batch.schema.names)
                    writer.broken(file.name, "schema", "missing_column", told)
                    return
                is_empty = False
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    row = add_rows(source, batch.slice(start, BATCH_ROWS), row, rows)
            if is_empty:
                writer.skip("empty_file")
    except NoText as error:
        writer.broken(file.name, "schema", "text_not_a_string", str(error))
    except DAMAGE as error:
        if is_ours(error):
            raise
        reason = "too_large" if isinstance(error, MemoryError) else "bad_arrow"
        writer.broken(file.name, f"row {row}", reason, str(error))


def _record_batches(handle: BinaryIO, file: InputFile) -> Iterator[pa.RecordBatch]:
    """Record batches of an Arrow file or of an Arrow stream, which `datasets` writes."""
    is_file = handle.read(len(FILE_MAGIC)) == FILE_MAGIC
    handle.seek(0)
    if not is_file:
        yield from pa.ipc.open_stream(handle)
        return
    reader = pa.ipc.open_file(handle)
    stop = file.stop if file.stop is not None else reader.num_record_batches
    for i in range(file.start, stop):
        yield reader.get_batch(i)
