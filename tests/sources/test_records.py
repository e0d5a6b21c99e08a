import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.corpus.sources import records
from pipeline.corpus.sources.records import Break, Limits, Record
from pipeline.corpus.sources.records import read_records as records_of

LINES = [f"line {i} ".encode() * (1 + i % 7) for i in range(500)]


def compress(name: str, data: bytes) -> bytes:
    return gzip.compress(data) if name.endswith(".gz") else zstandard.compress(data)


def read_records(path: Path, **settings: Any) -> Iterator[Record | Break]:
    with open(path, "rb") as handle:
        yield from records_of(handle, path.name, **settings)


def texts(path, **limits) -> tuple[list[bytes | None], Break | None]:
    found = list(read_records(path, limits=Limits(**limits)))
    broken = found.pop() if found and isinstance(found[-1], Break) else None
    assert all(isinstance(record, Record) for record in found)
    return [record.data for record in found], broken


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ["x.txt", "x.gz", "x.zst"])
def test_records_are_the_lines_whatever_the_block_size(tmp_path, monkeypatch, name, block_bytes):
    monkeypatch.setattr(records, "BLOCK_BYTES", block_bytes)
    lines = LINES[:60]
    data = b"\n".join(lines)
    path = tmp_path / name
    path.write_bytes(data if name == "x.txt" else compress(name, data))
    assert texts(path) == (lines, None)


def test_offsets_point_at_the_records(tmp_path):
    path = tmp_path / "x"
    data = b"ab\n\ncdef\ng"
    path.write_bytes(data)
    for record in read_records(path, limits=Limits()):
        assert isinstance(record, Record)
        assert data[record.offset : record.offset + record.num_bytes] == record.data


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 64])
def test_separator_of_several_bytes_is_found_across_blocks(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(records, "BLOCK_BYTES", block_bytes)
    path = tmp_path / "x"
    path.write_bytes(b"one<eot>two<e<eot>three<eo")
    found = [r.data for r in read_records(path, limits=Limits(), separator=b"<eot>")]  # type: ignore[union-attr]
    assert found == [b"one", b"two<e", b"three<eo"]


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_truncated_file_keeps_what_came_before_the_break(tmp_path, name):
    noise = [zlib.crc32(line).to_bytes(4, "big").hex().encode() * 40 for line in LINES]
    whole = compress(name, b"\n".join(noise))
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * 0.9)])
    kept, broken = texts(path)
    assert broken is not None
    assert broken.reason == f"truncated_{'gzip' if name == 'x.gz' else 'zstd'}"
    assert kept == noise[: len(kept)]


def test_truncated_gzip_keeps_most_rows(tmp_path):
    noise = [zlib.crc32(line).to_bytes(4, "big").hex().encode() * 40 for line in LINES]
    whole = gzip.compress(b"\n".join(noise))
    path = tmp_path / "x.gz"
    path.write_bytes(whole[: int(len(whole) * 0.9)])
    kept, _ = texts(path)
    assert len(kept) > 0.8 * len(noise)


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_file_cut_at_any_byte_never_raises_and_never_invents(tmp_path, name):
    lines = LINES[:8]
    whole = compress(name, b"\n".join(lines))
    path = tmp_path / name
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        kept, broken = texts(path)
        assert broken is not None
        assert kept == lines[: len(kept)]


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_several_members_read_as_one_stream(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(compress(name, b"a\nb") + compress(name, b"c\nd\n"))
    assert texts(path) == ([b"a", b"bc", b"d"], None)


def test_zero_padding_after_gzip_is_allowed_and_garbage_is_not(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a\n") + bytes(1000))
    assert texts(path) == ([b"a"], None)
    path.write_bytes(gzip.compress(b"a\n") + b"garbage")
    kept, broken = texts(path)
    assert kept == [b"a"]
    assert broken is not None and broken.reason == "bad_gzip"


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_bytes_that_are_not_compressed_are_a_break(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"text": "plain"}\n')
    kept, broken = texts(path)
    assert kept == []
    assert broken is not None and broken.reason.startswith("bad_")


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_bomb_is_stopped_by_its_ratio_in_bounded_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(records, "RATIO_GRACE_BYTES", 4 << 20)
    path = tmp_path / name
    path.write_bytes(compress(name, b"first\n" + bytes(40 << 20)))
    kept, broken = texts(path)
    assert kept == [b"first"]
    assert broken is not None and broken.reason == "expansion_ratio"


def test_expanded_bytes_are_limited(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345678\n" * 10)
    _, broken = texts(path, expanded_bytes=50)
    assert broken is not None and broken.reason == "too_large"


def test_record_over_the_limit_is_reported_and_reading_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 1000)
    path = tmp_path / "x"
    path.write_bytes(b"short\n" + b"x" * 30_000 + b"\nafter\n")
    found = list(read_records(path, limits=Limits(record_bytes=100)))
    assert [(r.index, r.num_bytes, r.data) for r in found] == [  # type: ignore[union-attr]
        (0, 5, b"short"), (1, 30_000, None), (2, 5, b"after"),
    ]  # fmt: skip
