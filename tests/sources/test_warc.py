import gzip
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.sources.records import Break, Limits
from pipeline.corpus.sources.warc import WarcSource
from pipeline.corpus.sources.warc_records import Damage, WarcRecord, read_warc
from tests.sources.conftest import Read
from tests.sources.test_web_pages import PAGE, SENTENCE

Reader = Callable[..., Read]
DATE = "2026-11-20T10:00:00Z"


def record(kind: str, body: bytes, **headers: str) -> bytes:
    fields = {"WARC-Type": kind, "WARC-Date": DATE, **headers, "Content-Length": str(len(body))}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + body + b"\r\n\r\n"


def page(
    body: bytes,
    url: str = "http://a/1",
    status: int = 200,
    content_type: str = "text/html",
    **h: str,
) -> bytes:
    fields = {"Content-Type": content_type, **h}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    http = f"HTTP/1.1 {status} OK\r\n{head}\r\n".encode() + body
    kind = "application/http; msgtype=response"
    return record("response", http, WARC_Target_URI=url, Content_Type=kind)


def members(*records: bytes) -> bytes:
    return b"".join(map(gzip.compress, records))


def source(path: Path, **settings: object) -> WarcSource:
    return WarcSource(name="w", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


INFO = record("warcinfo", b"software: test\r\n")
REQUEST = record("request", b"GET / HTTP/1.1\r\n\r\n")
WET = record(
    "conversion", "Schöner Text".encode(), WARC_Target_URI="http://b/", Content_Type="text/plain",
    WARC_Identified_Content_Language="deu",
)  # fmt: skip


@pytest.mark.parametrize("suffix", ["warc", "warc.gz", "warc.zst"])
def test_pages_become_documents_with_address_and_time(
    tmp_path: Path, read: Reader, suffix: str
) -> None:
    pytest.importorskip("trafilatura")
    records = [INFO, REQUEST, page(PAGE.encode("cp1252")), WET]
    pack = {"warc": b"".join(records), "warc.gz": members(*records),
            "warc.zst": b"".join(map(zstandard.compress, records))}  # fmt: skip
    (tmp_path / f"x.{suffix}").write_bytes(pack[suffix])
    result = read(source(tmp_path))
    assert list(result.documents) == ["w/x/2", "w/x/3"]
    assert SENTENCE.strip() in result.documents["w/x/2"]
    place = {"file": f"x.{suffix}", "timestamp": DATE}
    assert result.metadata["w/x/2"] == {**place, "row": 2, "url": "http://a/1"}
    assert result.metadata["w/x/3"] == {**place, "row": 3, "url": "http://b/", "language": "de"}
    assert result.facts[0]["skipped"] == {"warc_request": 1, "warc_warcinfo": 1}


def test_charset_chunks_and_codings_of_a_page_are_undone(tmp_path: Path, read: Reader) -> None:
    pytest.importorskip("trafilatura")
    body = gzip.compress(PAGE.replace("lazy", "faulen 懒").encode("gb18030"))
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    stored = page(
        chunked, content_type="text/html; charset=gb2312", Transfer_Encoding="chunked",
        Content_Encoding="gzip",
    )  # fmt: skip
    (tmp_path / "x.warc").write_bytes(stored)
    assert "faulen 懒" in read(source(tmp_path)).documents["w/x/0"]


def test_what_is_no_page_is_counted_by_kind(tmp_path: Path, read: Reader) -> None:
    pytest.importorskip("trafilatura")
    records = [
        page(PAGE.encode(), status=404),
        page(b"\x89PNG", content_type="image/png"),
        page(b""),
        page(b"<html><body></body></html>"),
        page(b"plain text", content_type="text/plain"),
        record("response", b"no http", Content_Type="application/http"),
        page(b"x" * 20_000),
    ]
    (tmp_path / "x.warc.gz").write_bytes(members(*records))
    result = read(source(tmp_path, max_page_bytes=10_000))
    assert result.documents == {"w/x/4": "plain text"}
    assert result.facts[0]["skipped"] == {
        "http_status": 1, "other_media_type": 1, "empty_page": 1, "no_text": 1,
    }  # fmt: skip
    assert result.reasons == ["bad_http", "page_too_large"]
    assert result.quarantine[0]["position"].startswith("record 5 (byte ")


def found(data: bytes, name: str = "x.warc", **limits: int) -> list[WarcRecord | Damage | Break]:
    return list(read_warc(BytesIO(data), name, Limits(**limits)))


def test_reading_goes_on_behind_damage() -> None:
    good = record("conversion", b"text")
    for damage in (b"garbage\nWARC/0.9 no\n", good[:-12], b"WARC/1.0\r\nContent-Length: x\r\n\r\n"):
        kinds = [type(one) for one in found(good + damage + b"\r\n" + good + good)]
        assert kinds.count(WarcRecord) >= 2
        assert Damage in kinds or damage == good[:-12]
        assert kinds[-1] is WarcRecord


@pytest.mark.parametrize("cut", [5, 40, 110])
@pytest.mark.parametrize("name", ["x.warc", "x.warc.gz"])
def test_truncated_archive_keeps_what_came_before_and_says_so(cut: int, name: str) -> None:
    good = record("conversion", b"some text" * 9)
    data = members(good, good) if name.endswith("gz") else good + good
    *before, last = found(data[:-cut], name)
    assert isinstance(last, Break)
    assert last.reason in ("truncated_gzip", "truncated_warc")
    assert [type(one) for one in before] == [WarcRecord] * len(before)
    assert before


def test_long_record_is_not_held_in_memory() -> None:
    first, second = found(record("conversion", b"x" * 5000) + WET, record_bytes=100)
    assert isinstance(first, WarcRecord) and isinstance(second, WarcRecord)
    assert (first.body, first.num_bytes) == (None, 5000)
    assert second.body == "Schöner Text".encode()


@pytest.mark.parametrize("length", ["", "-1", "1e9", "9" * 30, "١"])
def test_impossible_lengths_are_damage(length: str) -> None:
    data = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: {length}\r\n\r\ntext\r\n\r\n"
    assert [type(one) for one in found(data.encode() + WET)] == [Damage, WarcRecord]


pieces = st.sampled_from(
    [WET, INFO, b"WARC/1.", b"\r\n\r\n", b"\n", b"WARC/1.0\r\nContent-Length: 3\r\n\r\n", b"xyz"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces | st.binary(max_size=9), max_size=8))
def test_any_bytes_are_records_damage_or_a_break(parts: list[bytes]) -> None:
    data = b"".join(parts)
    seen = found(data)
    offsets = [one.offset for one in seen if not isinstance(one, Break)]
    assert offsets == sorted(offsets)
    assert all(not isinstance(one, Break) for one in seen[:-1])
    assert found(gzip.compress(data), "x.warc.gz") == seen
