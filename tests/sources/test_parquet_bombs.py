"""Tables of few bytes that stand for gigabytes: memory and disk stay bounded."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.sources.held import HeldRanges
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.parquet_pages import Bounds, TooLarge, measure_pages
from tests.sources.conftest import Read

Reader = Callable[..., Read]
MEGABYTE = 1 << 20
MEASURE = """
import json, resource, sys
from pathlib import Path
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.part import PartWriter

def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

before = peak()
with PartWriter(Path(sys.argv[1]), source="t") as writer:
    for path in sys.argv[2:]:
        unit = InputUnit("u", (InputFile(path, Path(path).name),))
        ParquetSource(name="t", paths=(path,)).parse(unit, writer)
    print(json.dumps({"bytes": peak() - before, **writer.facts()}))
"""


def repeated(text: str, rows: int) -> pa.Table:
    """One text that a dictionary holds once."""
    indices = pa.array([0] * rows, pa.int32())
    return pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array([text]))})


def table_source(path: Path, **settings: object) -> ParquetSource:
    return ParquetSource(name="t", paths=(str(path),), max_bad_fraction=1.0, **settings)


def test_crafted_files_take_neither_memory_nor_disk(tmp_path: Path) -> None:
    long = "a" * (8 * MEGABYTE)
    whole = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30}
    plain = {"compression": "zstd", "use_dictionary": False, "data_page_size": 1 << 30}
    delta = {**plain, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    files = {name: tmp_path / f"{name}.parquet" for name in ("typed", "untyped", "delta", "page")}
    pq.write_table(repeated(long, 2_000), files["typed"], **whole)  # 16 GB of text
    pq.write_table(repeated(long, 2_000), files["untyped"], store_schema=False, **whole)
    pq.write_table(pa.table({"text": [long] * 12}), files["delta"], **delta)
    pq.write_table(pa.table({"text": ["a" * (70 * MEGABYTE)]}), files["page"], **plain)
    assert sum(file.stat().st_size for file in files.values()) < 8_000
    scratch = tmp_path / "part"
    scratch.mkdir()
    command = [sys.executable, "-P", "-c", MEASURE, str(scratch), *map(str, files.values())]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    facts = json.loads(told.stdout)
    assert facts["quarantine_reasons"] == {"expansion_ratio": 4}
    assert facts["breaks"] == 4
    assert facts["bytes"] < 400 * MEGABYTE  # of Python, texts and Arrow's copies of them
    assert (scratch / "documents.arrow").stat().st_size < 450 * MEGABYTE


ARROW = """
import sys
from pathlib import Path
from pipeline.corpus.sources.arrow import ArrowSource, parse_arrow
from pipeline.corpus.sources.inputs import InputFile
from pipeline.corpus.sources.part import PartWriter
from pipeline.store import memory

path = Path(sys.argv[1])
memory.DECODED_BYTES = 100 << 20
with PartWriter(path.parent, source="t") as writer:
    parse_arrow(ArrowSource(name="t", paths=(str(path),)), InputFile(str(path), "x.arrow"), writer)
    print(writer.facts()["documents"], writer.facts()["quarantine_reasons"])
bytearray(400 << 20)  # the ceiling is gone with the decoding
"""


def test_arrow_buffers_that_expand_beyond_memory_end_the_file(tmp_path: Path) -> None:
    size = 300 * MEGABYTE
    zeros, offsets = np.zeros(size, np.uint8), np.array([0, size])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(zeros)]
    bomb = pa.record_batch({"text": pa.Array.from_buffers(pa.large_string(), 1, buffers)})
    small = pa.record_batch({"text": pa.array(["kept"], pa.large_string())})
    path = tmp_path / "x.arrow"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, small.schema, options=options) as file,
    ):
        file.write_batch(small)
        file.write_batch(bomb)
    assert path.stat().st_size < 100_000
    command = [sys.executable, "-P", "-c", ARROW, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stdout) == (0, "1 {'too_large': 1}\n"), told.stderr


def test_page_above_the_limit_costs_its_row_group_only(tmp_path: Path, read: Reader) -> None:
    texts = ["short", "b" * 5_000, "short again"]
    pq.write_table(
        pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=1, use_dictionary=False
    )
    result = read(table_source(tmp_path / "x.parquet", max_page_bytes=4_000))
    assert result.documents == {"t/x/0": "short", "t/x/2": "short again"}
    assert [(bad["position"], bad["reason"]) for bad in result.quarantine] == [
        ("row 1", "too_large")
    ]
    assert (
        "column 'text': a page of 5010 bytes, the limit is 4000" in result.quarantine[0]["detail"]
    )


def test_rows_of_nulls_end_where_the_file_has_given_enough(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "x.parquet"
    texts = pa.chunked_array([pa.array(["kept"]), pa.nulls(1_200_000, pa.string())])
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    result = read(table_source(path))
    assert list(result.documents.values()) == ["kept"]
    assert result.facts[0]["quarantine_reasons"]["expansion_ratio"] == 1
    assert result.facts[0]["quarantine_reasons"]["missing_text"] < 1_100_000


def test_repetitive_text_within_the_ratio_is_kept(tmp_path: Path, read: Reader) -> None:
    pq.write_table(repeated("a licence " * 1_000, 2_000), tmp_path / "x.parquet")  # 20 MB
    assert len(read(table_source(tmp_path / "x.parquet")).documents) == 2_000


def test_lists_that_one_row_may_hold_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    bounds = Bounds(list_values=4_999)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x"], "tags": pa.array([[0] * 5_000])}), path)
    with path.open("rb") as handle, pq.ParquetFile(handle) as parquet:
        measure_pages(handle, parquet, 0, ["text"], bounds)
        with pytest.raises(TooLarge, match="5000 values in lists, the limit is 4999"):
            measure_pages(handle, parquet, 0, ["text", "tags"], bounds)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
def test_headers_say_what_the_footer_says_of_an_honest_file(
    tmp_path: Path, version: str, compression: str
) -> None:
    path = tmp_path / "x.parquet"
    texts = [f"{i} " * (i % 90) if i % 7 else None for i in range(9_000)]
    table = pa.table({"text": texts, "tags": [[str(i % 5)] * (i % 4) for i in range(9_000)]})
    pq.write_table(
        table, path, compression=compression, data_page_version=version, data_page_size=20_000,
        row_group_size=4_000, dictionary_pagesize_limit=50_000,
    )  # fmt: skip
    with path.open("rb") as handle, pq.ParquetFile(handle) as parquet:
        for group in range(3):
            facts = parquet.metadata.row_group(group)
            found = measure_pages(handle, parquet, group, ["text", "tags"], Bounds())
            # The footer counts the headers too.
            assert 0.97 * facts.total_byte_size < found.num_bytes < facts.total_byte_size
            assert found.repeatable_bytes >= 50_000  # both dictionaries


def test_damaged_headers_are_quarantined_and_never_loop(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["alpha"] * 50}), path, compression="none")
    whole = path.read_bytes()
    for at in range(4, 40):
        for byte in (0x00, 0xFF):
            path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
            with path.open("rb") as handle, pq.ParquetFile(handle) as parquet:
                try:
                    measure_pages(handle, parquet, 0, ["text"], Bounds())
                except ValueError as error:
                    assert "header" in str(error) or "a page of" in str(error)


def test_remote_bytes_are_fetched_once_and_read_twice() -> None:
    class Counted(io.BytesIO):
        fetched = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            Counted.fetched += len(found)
            return found

    stream = HeldRanges(Counted(bytes(range(100))))
    stream.hold([(10, 20), (50, 10)])
    assert Counted.fetched == 30
    stream.seek(12)
    assert (stream.read(3), stream.tell()) == (b"\x0c\x0d\x0e", 15)
    stream.seek(10)
    assert stream.read(20) == bytes(range(10, 30))
    assert Counted.fetched == 30
    assert stream.read(2) == b"\x1e\x1f"  # behind it
    stream.seek(-1, io.SEEK_END)
    assert stream.read() == b"\x63"
    assert Counted.fetched == 33
