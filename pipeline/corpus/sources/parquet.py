"""Parquet files, streamed in batches of rows: one document per row.

Row groups are read one by one, so damage ends only its own, and large files are cut between them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
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

BATCH_BYTES = 32 << 20  # of decoded text at once, by the average of its row group


class ParquetSource(FileSource, TableSource):
    """Parquet files (`.parquet`)."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    reads_compressed: ClassVar[bool] = False
    kind: Literal["parquet"] = "parquet"
    split_bytes: int = Field(
        SPLIT_BYTES,
        ge=1 << 10,
        title="Large file",
        description="Bytes of row groups that become one part; larger files are cut.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """How a file was cut is in the units."""
        return super().not_identity() | {"split_bytes"}

    def cut_rule(self, file: InputFile) -> str | None:
        """Files of more than `split_bytes` are cut between row groups."""
        if file.is_url or file.num_bytes is None or file.num_bytes <= self.split_bytes:
            return None
        return f"row groups {self.split_bytes}"

    def pieces(self, file: InputFile) -> list[Piece]:
        """Runs of row groups of about `split_bytes`; none where the file is no Parquet."""
        try:
            with _opened(file) as parquet:
                return cut_groups(parquet.metadata, self.split_bytes)
        except DAMAGE as error:
            if is_ours(error):
                raise
            return []

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's files."""
        for file in unit.files:
            parse_parquet(self, file, writer)


def cut_groups(metadata: pq.FileMetaData, split_bytes: int) -> list[Piece]:
    """Pieces of at least `split_bytes` (but the last); the whole file stands for their content."""
    pieces: list[Piece] = []
    start = row = first_row = size = 0
    for group in range(metadata.num_row_groups):
        facts = metadata.row_group(group)
        size += facts.total_byte_size
        row += facts.num_rows
        if size >= split_bytes or group + 1 == metadata.num_row_groups:
            pieces.append(Piece(start, group + 1, first_row, "", size))
            start, first_row, size = group + 1, row, 0
    return pieces


def parse_parquet(source: ParquetSource, file: InputFile, writer: PartWriter) -> None:
    """Read one file, or a run of its row groups; a damaged group is quarantined as one break."""
    try:
        with _opened(file) as parquet:
            columns = source.wanted(parquet.schema_arrow.names)
            if columns is None:
                told = no_text_column(source, parquet.schema_arrow.names)
                writer.broken(file.name, "schema", "missing_column", told)
                return
            if parquet.metadata.num_rows == 0:
                writer.skip("empty_file")
            _parse_groups(source, file, parquet, columns, writer)
    except NoText as error:
        writer.broken(file.name, "schema", "text_not_a_string", str(error))
    except DAMAGE as error:
        if is_ours(error):
            raise
        writer.broken(file.name, "footer", "bad_parquet", str(error))


def _parse_groups(
    source: ParquetSource,
    file: InputFile,
    parquet: pq.ParquetFile,
    columns: list[str],
    writer: PartWriter,
) -> None:
    rows = source.row_writer(file, writer)
    first_row = file.first_row
    stop = file.stop if file.stop is not None else parquet.metadata.num_row_groups
    for group in range(file.start, stop):
        facts = parquet.metadata.row_group(group)
        row = first_row
        try:
            for batch in _batches(parquet, group, facts, columns):
                row = add_rows(source, batch, row, rows)
        except DAMAGE as error:
            if is_ours(error):
                raise
            writer.broken(file.name, f"row {row} (row group {group})", "bad_parquet", str(error))
        first_row += facts.num_rows  # a damaged group takes all its numbers


def _batches(
    parquet: pq.ParquetFile, group: int, facts: pq.RowGroupMetaData, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    average = facts.total_byte_size // max(facts.num_rows, 1) + 1
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // average))
    yield from parquet.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


@contextmanager
def _opened(file: InputFile) -> Iterator[pq.ParquetFile]:
    # No memory map: a file cut short while it is mapped would kill the process.
    with (
        open_seekable(file) as handle,
        pq.ParquetFile(handle, pre_buffer=False, page_checksum_verification=True) as parquet,
    ):
        yield parquet
