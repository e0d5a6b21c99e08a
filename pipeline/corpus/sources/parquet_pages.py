"""What the pages of a Parquet file will take in memory, read from their headers alone.

    footer -> column chunk -> page headers (type, sizes, values, encoding) -> Pages, or TooLarge

Parquet's decoder allocates what a page's header says, and copies a value as often as a page repeats
it; the footer, which says less, need not tell the truth. So the headers are read first. They are
Thrift structs in the compact protocol; fields by parquet-format's `parquet.thrift`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from pipeline.corpus.sources.held import HeldRanges
from pipeline.corpus.sources.records import RATIO_GRACE_BYTES
from pipeline.corpus.sources.thrift import Compact

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3  # PageType
_INNER = {DATA_PAGE: 5, DICTIONARY_PAGE: 7, DATA_PAGE_V2: 8}  # the field with its own header
DELTA_BYTE_ARRAY = 7  # Encoding: each value says how much of the one before it repeats
POINTER_BYTES = 16  # Arrow keeps a pointer and a length per entry of a dictionary
HEADER_BYTES = 1 << 12  # read at once; tens of bytes are usual
MAX_HEADER_BYTES = 1 << 24  # as Arrow's own decoder; statistics hold whole values
MAX_LIST_VALUES = 1 << 24  # guess: of one column of lists in one row group; a row may hold all
ROW_BYTES = 64  # what a row counts beside its values: nulls take no bytes, but time and an object
REPEATED_BYTES = 64 << 20  # decoded at once, if every row repeats the longest value
MAX_PAGES = 1 << 20  # of one column of a row group; a page usually holds a megabyte
Readable = BinaryIO | HeldRanges


class TooLarge(ValueError):
    """A row group, or a whole file, would take more than allowed."""

    def __init__(self, reason: str, detail: str, *, ends_file: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        """Its code in the quarantine."""
        self.ends_file = ends_file


@dataclass(frozen=True)
class Bounds:
    """What one page may take."""

    page_bytes: int = 1 << 30
    expansion_ratio: float = 250.0
    """Decompressed over compressed bytes of a page above `RATIO_GRACE_BYTES`."""
    list_values: int = MAX_LIST_VALUES
    """Of one column of lists in a row group."""


class Budget:
    """Bytes that a file, or a piece of one, may still be decoded to.

    A dictionary of one long text and a run of a billion indices take a hundred bytes.
    """

    def __init__(self, stored_bytes: int, ratio: float) -> None:
        self._stored = stored_bytes
        self._ratio = ratio
        self._decoded = 0

    def take(self, num_bytes: int, rows: int) -> None:
        """Count what was decoded; TooLarge above the ratio."""
        self._decoded += num_bytes + rows * ROW_BYTES
        if not self.allows(self._decoded):
            raise TooLarge(
                "expansion_ratio",
                f"{self._stored} bytes expanded to {self._decoded}; limit {self._ratio:g} times",
                ends_file=True,
            )

    def allows(self, num_bytes: int) -> bool:
        """Whether the whole may become so large."""
        return num_bytes <= max(RATIO_GRACE_BYTES, self._ratio * self._stored)


@dataclass(frozen=True)
class Pages:
    """The wanted columns of one row group."""

    num_bytes: int
    """Decompressed bytes of all pages."""
    repeatable_bytes: int
    """At most so much does a page repeat for one row: a dictionary's bytes, a delta's base."""
    num_values: int = 0
    """Of all columns, nulls too."""

    def batch_rows(self, most: int, batch_bytes: int, num_rows: int) -> int:
        """Rows to decode at once: about `batch_bytes` by the average of the group's `num_rows`."""
        average = self.num_bytes // max(num_rows, 1) + 1
        repeated = REPEATED_BYTES // max(self.repeatable_bytes, 1)
        return max(1, min(most, batch_bytes // average, repeated))


@dataclass(frozen=True)
class Page:
    """One header."""

    kind: int
    num_bytes: int
    compressed_bytes: int
    num_values: int
    encoding: int


def measure_pages(
    handle: Readable, parquet: pq.ParquetFile, group: int, names: Sequence[str], bounds: Bounds
) -> Pages:
    """Every page of the columns `names` in a row group, none of them decoded.

    A remote file's columns are fetched once, for us and the decoder. Raises TooLarge for a page or
    list above the bounds, ValueError where a header is damaged.
    """
    facts = parquet.metadata.row_group(group)
    if isinstance(handle, HeldRanges):
        handle.hold([chunk_range(chunk) for _, chunk in wanted_chunks(facts, names)])
    total = repeatable = all_values = 0
    for i, chunk in wanted_chunks(facts, names):
        path = chunk.path_in_schema
        largest = values = 0
        for page in _pages(handle, *chunk_range(chunk)):
            where = f"row group {group}, column {path!r}"
            _check_page(page, bounds, where)
            total += page.num_bytes
            if page.kind == DICTIONARY_PAGE or page.encoding == DELTA_BYTE_ARRAY:
                largest = max(largest, page.num_bytes)
            if page.kind != DICTIONARY_PAGE:
                values += page.num_values
        if parquet.schema.column(i).max_repetition_level and values > bounds.list_values:
            raise TooLarge(
                "too_large", f"{where}: {values} values in lists, the limit is {bounds.list_values}"
            )
        repeatable += largest
        all_values += values
    return Pages(total, repeatable, all_values)


def wanted_chunks(
    facts: pq.RowGroupMetaData, names: Sequence[str]
) -> Iterator[tuple[int, pq.ColumnChunkMetaData]]:
    """The numbered column chunks below the columns `names`."""
    for i in range(facts.num_columns):
        chunk = facts.column(i)
        path = chunk.path_in_schema
        if any(path == name or path.startswith(f"{name}.") for name in names):
            yield i, chunk


def stored_bytes(metadata: pq.FileMetaData, groups: Iterable[int], file_bytes: int) -> int:
    """Bytes of the file that the row groups take; those that share bytes count the file once."""
    facts = (metadata.row_group(group) for group in groups)
    claimed = sum(f.column(i).total_compressed_size for f in facts for i in range(f.num_columns))
    return min(claimed, file_bytes)


def chunk_range(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """First byte of a column chunk and its length, as Arrow's decoder takes them."""
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return start, chunk.total_compressed_size


def _check_page(page: Page, bounds: Bounds, where: str) -> None:
    needed = page.num_bytes
    if page.kind == DICTIONARY_PAGE:
        needed = max(needed, page.num_values * POINTER_BYTES)
    if needed > bounds.page_bytes:
        raise TooLarge(
            "too_large", f"{where}: a page of {needed} bytes, the limit is {bounds.page_bytes}"
        )
    allowed = bounds.expansion_ratio * max(page.compressed_bytes, 1)
    if needed > max(RATIO_GRACE_BYTES, allowed):
        raise TooLarge(
            "expansion_ratio",
            f"{where}: a page of {page.compressed_bytes} bytes expands to {needed}; "
            f"limit {bounds.expansion_ratio:g} times",
        )


def _pages(handle: Readable, start: int, length: int) -> Iterator[Page]:
    position, end = start, start + length
    for _ in range(MAX_PAGES):
        if position >= end:
            return
        page, header_bytes = _header(handle, position, end)
        if page.compressed_bytes < 0 or page.num_bytes < 0 or page.num_values < 0:
            raise ValueError(f"a page header at byte {position} has negative sizes")
        yield page
        position += header_bytes + page.compressed_bytes
    raise TooLarge("too_large", f"more than {MAX_PAGES} pages in one column of a row group")


def _header(handle: Readable, position: int, end: int) -> tuple[Page, int]:
    """The header at `position` and its length."""
    size = HEADER_BYTES
    while True:
        handle.seek(position)
        data = handle.read(min(size, end - position))
        try:
            reader = Compact(data)
            return _page(reader.struct()), reader.at
        except IndexError:
            if size >= min(end - position, MAX_HEADER_BYTES):
                raise ValueError(f"a page header at byte {position} does not end") from None
        size *= 8


def _page(fields: dict[int, Any]) -> Page:
    """Of PageHeader: 1 type, 2 and 3 sizes; 5, 7 and 8 the headers of the kinds of pages."""
    kind = fields.get(1)
    inner = fields.get(_INNER[kind]) if kind in _INNER else None
    # DataPageHeaderV2 counts nulls and rows before it names the encoding.
    encoding = 4 if kind == DATA_PAGE_V2 else 2
    about = inner if isinstance(inner, dict) else {}
    found = (kind, fields.get(2), fields.get(3), about.get(1, 0), about.get(encoding, 0))
    numbers = [value for value in found if isinstance(value, int)]
    if len(numbers) < len(found):
        raise ValueError("a page header lacks a size, or has one of a wrong type")
    return Page(*numbers)
