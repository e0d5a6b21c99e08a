"""Raw rows of a file: JSON objects by line, or the rows of a table; nothing of their meaning.

.jsonl  .jsonl.gz  .parquet  .arrow  ->  (1, {...}), (2, BadRow("not JSON")), (3, {...})
"""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.sources.parquet_pages import (
    Bounds,
    Budget,
    TooLarge,
    measure_pages,
    stored_bytes,
)
from pipeline.store.errors import DataError
from pipeline.store.memory import within

MAX_LINE_BYTES = 8 << 20  # guess; the longest conversation in public SFT sets is below 1 MB
TABLE_ROWS, TABLE_BYTES = 1_000, 32 << 20  # read at once
TABLES = (".parquet", ".arrow")
REMEDIES = {
    **dict.fromkeys((".csv", ".tsv"), "read it as {kind: huggingface, dataset: csv, data_files: "
                    "[...]}, or write an object per line"),
    **dict.fromkeys((".zst", ".xz", ".bz2", ".zip", ".tar", ".7z"), "unpack it, or pack it as .gz"),
    **dict.fromkeys((".yaml", ".yml", ".xlsx", ".xls", ".pkl", ".feather", ".db", ".sqlite"),
                    "write an object per line, or a Parquet file"),
}  # fmt: skip
"""What to do with a file that, by its ending, holds no JSON lines."""


class BadRow(Exception):
    """A row to quarantine; the text is the reason."""


Row = dict[str, Any]


def raw_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """Numbered rows, counted from 1; DataError for a damaged file, or one that is a JSON array."""
    if path.suffix.lower() in TABLES:
        yield from _table_rows(path)
        return
    if (remedy := REMEDIES.get(path.suffix.lower())) is not None:
        raise DataError(f"{path} is no file of JSON lines; {remedy}")
    first = True
    for number, line in _lines(path):
        if first:
            _refuse_one_value(path, line)
        first = False
        try:
            yield number, _parse(line)
        except BadRow as bad:
            yield number, bad


def _refuse_one_value(path: Path, first_line: bytes) -> None:
    """DataError where the first line opens an array, or an object that goes on in other lines."""
    text = first_line.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] == b"[":
        raise DataError(
            f"{path} is one JSON array; write an object per line, as `jq -c '.[]'` does"
        )
    if text == b"{":
        raise DataError(
            f"{path} is JSON over several lines; write an object per line, as `jq -c .` does"
        )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without blank ones; a line above the bound is cut there and so is not JSON."""
    opener: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as handle:
        number = 0
        try:
            while line := handle.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    _skip_line(handle)
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path} is damaged after line {number} ({error}); fetch it again"
            ) from error


def _skip_line(handle: BinaryIO) -> None:
    while (piece := handle.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass


def _parse(line: bytes) -> Row:
    if len(line) > MAX_LINE_BYTES:
        raise BadRow(f"line longer than {MAX_LINE_BYTES} bytes")
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise BadRow("invalid UTF-8") from None
    except RecursionError:
        raise BadRow("nested too deeply") from None
    except ValueError:
        raise BadRow("not JSON") from None
    if not isinstance(row, dict):
        raise BadRow("not a JSON object")
    return row


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise BadRow("a key occurs twice")
    return row


def _table_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """A batch in memory at a time."""
    number = 0
    try:
        for batch in within(_batches(path)):
            names = batch.schema.names
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"{path} has two columns {twice!r}; rename one")
            for row in _rows_of(batch):
                number += 1
                yield number, row
    except TooLarge as error:
        raise DataError(f"{path} would take too much memory after row {number}: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} is damaged after row {number} ({error}); fetch it again"
        ) from error


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row | BadRow]:
    """Text in a table is not checked when it is written: a row whose bytes are no text is bad."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield BadRow("invalid UTF-8")
            return
        for index in range(batch.num_rows):
            yield from _rows_of(batch.slice(index, 1))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with open(path, "rb") as plain, pq.ParquetFile(plain, pre_buffer=False) as parquet:
            yield from _parquet_batches(plain, parquet)
        return
    with pa.OSFile(str(path)) as handle:
        try:
            reader = pa.ipc.open_stream(handle)  # what `datasets` writes
        except pa.ArrowInvalid:
            handle.seek(0)
            file = pa.ipc.open_file(handle)
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            yield from reader


def _parquet_batches(handle: BinaryIO, parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """What the file says of its sizes is checked first: see `parquet_pages`."""
    metadata, names = parquet.metadata, parquet.schema_arrow.names
    groups = range(metadata.num_row_groups)
    stored = stored_bytes(metadata, groups, handle.seek(0, io.SEEK_END))
    bounds = Bounds()
    budget = Budget(stored, bounds.expansion_ratio)
    for group in groups:
        pages = measure_pages(handle, parquet, group, names, bounds)
        rows = pages.batch_rows(TABLE_ROWS, TABLE_BYTES, metadata.row_group(group).num_rows)
        for batch in parquet.iter_batches(rows, row_groups=[group], use_threads=False):
            budget.take(batch.nbytes, batch.num_rows)
            yield batch
