"""Parquet files, streamed in batches of rows: one document per row.

Row groups are read one by one, so damage ends only its own, and large files are cut between them.
What a file says of its sizes is not trusted: see `parquet_pages`.
"""

import io
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
from pipeline.corpus.sources.held import HeldRanges
from pipeline.corpus.sources.inputs import InputFile, InputUnit, Piece
from pipeline.corpus.sources.parquet_pages import (
    Bounds,
    Budget,
    Pages,
    Readable,
    TooLarge,
    measure_pages,
    stored_bytes,
)
from pipeline.corpus.sources.part import PartWriter
from pipeline.store.memory import within

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
    max_page_bytes: int = Field(
        1 << 30,
        ge=1,
        lt=1 << 31,
        title="Largest page",
        description="Decompressed bytes of a column's page above which its row group is "
        "quarantined.",
    )
    max_expansion_ratio: float = Field(
        250.0,
        gt=1.0,
        title="Largest expansion",
        description="Decoded over stored bytes at which reading a page or a file stops.",
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
            with opened_parquet(file) as (_, parquet):
                return cut_groups(parquet.metadata, self.split_bytes, file.known_bytes)
        except DAMAGE as error:
            if is_ours(error):
                raise
            return []

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's files."""
        for file in unit.files:
            parse_parquet(self, file, writer)


def cut_groups(metadata: pq.FileMetaData, split_bytes: int, file_bytes: int) -> list[Piece]:
    """Pieces of at least `split_bytes` (but the last); the whole file stands for their content.

    None where row groups share bytes of the file: each piece would be allowed to expand them.
    """
    pieces: list[Piece] = []
    start = row = first_row = size = 0
    for group in range(metadata.num_row_groups):
        facts = metadata.row_group(group)
        size += facts.total_byte_size
        row += facts.num_rows
        if size >= split_bytes or group + 1 == metadata.num_row_groups:
            pieces.append(Piece(start, group + 1, first_row, "", size))
            start, first_row, size = group + 1, row, 0
    groups = range(metadata.num_row_groups)
    shared = stored_bytes(metadata, groups, file_bytes + 1) > file_bytes
    return [] if shared else pieces


def parse_parquet(source: ParquetSource, file: InputFile, writer: PartWriter) -> None:
    """Read one file, or a run of its row groups; a damaged group is quarantined as one break."""
    try:
        with opened_parquet(file) as (handle, parquet):
            columns = source.wanted(parquet.schema_arrow.names)
            if columns is None:
                told = no_text_column(source, parquet.schema_arrow.names)
                writer.broken(file.name, "schema", "missing_column", told)
                return
            if parquet.metadata.num_rows == 0:
                writer.skip("empty_file")
            _parse_groups(source, file, handle, parquet, columns, writer)
    except NoText as error:
        writer.broken(file.name, "schema", "text_not_a_string", str(error))
    except DAMAGE as error:
        if is_ours(error):
            raise
        writer.broken(file.name, "footer", "bad_parquet", str(error))


def _parse_groups(
    source: ParquetSource,
    file: InputFile,
    handle: Readable,
    parquet: pq.ParquetFile,
    columns: list[str],
    writer: PartWriter,
) -> None:
    rows = source.row_writer(file, writer)
    first_row = file.first_row
    metadata = parquet.metadata
    groups = range(file.start, file.stop if file.stop is not None else metadata.num_row_groups)
    stored = stored_bytes(metadata, groups, handle.seek(0, io.SEEK_END))
    budget = Budget(stored, source.max_expansion_ratio)
    bounds = Bounds(source.max_page_bytes, source.max_expansion_ratio)
    for group in groups:
        row = first_row
        try:
            pages = measure_pages(handle, parquet, group, columns, bounds)
            for batch in decoded_batches(parquet, group, pages, columns):
                written = writer.num_bytes
                row = add_rows(source, batch, row, rows)
                decoded = max(batch.nbytes, writer.num_bytes - written)
                budget.take(decoded, batch.num_rows)
        except TooLarge as error:
            writer.broken(file.name, f"row {row}", error.reason, str(error))
            if error.ends_file:
                return
        except DAMAGE as error:
            if is_ours(error):
                raise
            writer.broken(file.name, f"row {row} (row group {group})", "bad_parquet", str(error))
        first_row += metadata.row_group(group).num_rows  # a damaged group takes all its numbers


def decoded_batches(
    parquet: pq.ParquetFile, group: int, pages: Pages, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of a row group, so many at once that they take little memory."""
    num_rows = parquet.metadata.row_group(group).num_rows
    rows = pages.batch_rows(BATCH_ROWS, BATCH_BYTES, num_rows)
    batches = parquet.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
    yield from within(batches)


@contextmanager
def opened_parquet(file: InputFile) -> Iterator[tuple[Readable, pq.ParquetFile]]:
    """The file's bytes, and what decodes them."""
    # No memory map: a file cut short while it is mapped would kill the process.
    with open_seekable(file) as plain:
        handle = HeldRanges(plain) if file.is_url else plain
        with pq.ParquetFile(handle, pre_buffer=False, page_checksum_verification=True) as parquet:
            yield handle, parquet
