"""Whether a Parquet file may be handed to a decoder that trusts it.

    headers of all pages say it cannot be much -> fine
    else decoded once, a few rows at a time, nothing kept -> fine, or DataError

`datasets` decodes a whole row group at once and writes all of it to disk; a file of 700 bytes can
stand for gigabytes.
"""

import io

import pyarrow.parquet as pq

from pipeline.corpus.sources.columns import DAMAGE, is_ours
from pipeline.corpus.sources.inputs import InputFile
from pipeline.corpus.sources.parquet import decoded_batches, opened_parquet
from pipeline.corpus.sources.parquet_pages import (
    ROW_BYTES,
    Bounds,
    Budget,
    Pages,
    Readable,
    measure_pages,
    stored_bytes,
)
from pipeline.store.errors import DataError

MAX_LIST_VALUES = 1 << 28
"""Of one column of lists in one row group: 350,000 rows with an embedding of 768 numbers."""
VALUE_BYTES = 16  # of the widest number in Arrow, or a text's offset and length


def refuse_expanding(file: InputFile, *, ratio: float, source: str) -> None:
    """DataError for a file that decodes to more than `ratio` times its bytes, or not at all."""
    try:
        with opened_parquet(file) as (handle, parquet):
            _check(handle, parquet, ratio)
    except DAMAGE as error:
        if is_ours(error):
            raise
        told = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise DataError(
            f"source {source!r}: {file.name} is not given to `datasets` ({told}); raise "
            "max_expansion_ratio if you trust the file, or read it with `kind: parquet`, which "
            "takes the rows it can and quarantines the rest"
        ) from error


def _check(handle: Readable, parquet: pq.ParquetFile, ratio: float) -> None:
    metadata, columns = parquet.metadata, parquet.schema_arrow.names
    bounds = Bounds(expansion_ratio=ratio, list_values=MAX_LIST_VALUES)
    groups = range(metadata.num_row_groups)
    stored = stored_bytes(metadata, groups, handle.seek(0, io.SEEK_END))
    sizes = [metadata.row_group(group).num_rows for group in groups]
    pages = [measure_pages(handle, parquet, group, columns, bounds) for group in groups]
    budget = Budget(stored, ratio)
    if budget.allows(sum(map(_at_most, pages, sizes))):
        return
    for group in groups:
        for batch in decoded_batches(parquet, group, pages[group], columns):
            budget.take(batch.nbytes, batch.num_rows)


def _at_most(pages: Pages, num_rows: int) -> int:
    """Bytes that a row group cannot exceed: every row repeats the longest value."""
    per_row = ROW_BYTES + pages.repeatable_bytes
    return pages.num_bytes + pages.num_values * VALUE_BYTES + num_rows * per_row
