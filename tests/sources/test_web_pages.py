import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.sources import extraction
from pipeline.corpus.sources.charset import codec_of, decode_page
from pipeline.corpus.sources.extraction import Extractor, Refusal
from pipeline.corpus.sources.html_pages import HtmlSource
from pipeline.corpus.sources.http_message import (
    BadMessage,
    HttpResponse,
    decoded_body,
    parse_response,
)
from pipeline.store.errors import ConfigError
from tests.sources.conftest import Read

Reader = Callable[..., Read]
SENTENCE = "The quick brown fox jumps over the lazy dog while the miller grinds his grist. "
PAGE = (
    "<!doctype html><html><head><title>Title</title><style>p {color: red}</style></head><body>"
    "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About us</a></li></ul></nav>"
    f"<article><h1>Milling</h1><p>{SENTENCE * 4}</p>"
    f"<p>{SENTENCE * 3}Zum Schluß: ende.</p></article>"
    "<script>alert('not text')</script><footer>Copyright by nobody</footer></body></html>"
)
# What stands in for an extractor that misbehaves: the page says how.
MISBEHAVING = """
import ctypes, os, re, signal, struct, sys, time
source = open(%r).read().split('if __name__')[0]
exec(source)
def extract(html):
    if "spin" in html: re.match("(a+)+$", "a" * 60 + "b")  # inside C: no Python code can end it
    if "sleep" in html: time.sleep(60)
    if "crash" in html: os.kill(os.getpid(), signal.SIGSEGV)
    if "eat" in html: return "x" * (3 << 30)
    if "raise" in html: raise ValueError("no tree")
    if "noise" in html: os.write(1, b"x" * 200_000); os.write(2, b"x" * 200_000)
    return html
extractor = lambda name, favor: extract
main()
"""


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extraction by a stand-in that hangs, crashes or eats memory when its page says so."""
    script = tmp_path / "worker.py"
    script.write_text(MISBEHAVING % str(extraction.WORKER))
    monkeypatch.setattr(extraction, "WORKER", script)
    monkeypatch.setattr(extraction, "WALL_FACTOR", 3.0)
    monkeypatch.setattr(extraction, "version", lambda name: "0")


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("spin", "extraction_timeout"),
        ("sleep", "extraction_timeout"),
        ("crash", "extraction_crashed"),
        ("eat", "extraction_memory"),
        ("raise", "extraction_failed"),
    ],
)
def test_page_the_extractor_fails_on_is_refused_and_the_next_one_read(
    misbehaving: None, page: str, reason: str
) -> None:
    with Extractor("trafilatura", "balanced", seconds=0.3) as extractor:
        refused = extractor.text_of(page)
        assert isinstance(refused, Refusal)
        assert refused.reason == reason
        assert extractor.text_of("noise ü") == "noise ü"
        process = extractor._process
    assert process is not None
    assert process.returncode is not None  # no child is left behind


def test_hanging_page_is_quarantined_in_its_place(
    misbehaving: None, tmp_path: Path, read: Reader
) -> None:
    (tmp_path / "in").mkdir()
    for name, content in (("a", "first"), ("b", "spin"), ("c", "third"), ("d", "")):
        (tmp_path / "in" / f"{name}.html").write_text(content)
    result = read(
        HtmlSource(name="h", paths=(str(tmp_path / "in"),), max_seconds=0.3, max_bad_fraction=0.5)
    )
    assert result.documents == {"h/a": "first", "h/c": "third"}
    assert [(q["file"], q["reason"]) for q in result.quarantine] == [
        ("b.html", "extraction_timeout")
    ]
    assert result.facts[0]["skipped"] == {"empty_file": 1}


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_main_text_is_taken_and_the_rest_left(
    tmp_path: Path, read: Reader, name: extraction.ExtractorName
) -> None:
    pytest.importorskip(name)
    (tmp_path / "x.html").write_bytes(PAGE.encode("cp1252"))
    (tmp_path / "y.html.gz").write_bytes(gzip.compress(PAGE.encode()))
    (tmp_path / "z.html").write_text("<html><body><nav></nav></body></html>")
    result = read(HtmlSource(name="h", paths=(str(tmp_path),), extractor=name))
    assert set(result.documents) == {"h/x", "h/y"}
    assert len(set(result.documents.values())) == 1
    text = result.documents["h/x"]
    assert SENTENCE.strip() in text
    assert "Zum Schluß: ende." in text
    for noise in ("not text", "Copyright", "About us", "color: red"):
        assert noise not in text
    assert result.facts[0]["recoded_pages"] == 1
    assert result.metadata["h/x"] == {"file": "x.html", "row": 0}


def test_absent_extractor_is_said_before_anything_is_read(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise extraction.PackageNotFoundError(name)

    monkeypatch.setattr(extraction, "version", absent)
    (tmp_path / "x.html").write_text(PAGE)
    with pytest.raises(ConfigError, match="pip install trafilatura"):
        read(HtmlSource(name="h", paths=(str(tmp_path),)))


def test_pages_over_the_limit_and_bombs_are_quarantined(tmp_path: Path, read: Reader) -> None:
    pytest.importorskip("trafilatura")
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.html").write_text(PAGE + "x" * 10_000)
    (tmp_path / "c.html.gz").write_bytes(gzip.compress(b"y" * 80_000_000))
    (tmp_path / "d.html.gz").write_bytes(gzip.compress(PAGE.encode())[:-20])
    result = read(
        HtmlSource(name="h", paths=(str(tmp_path),), max_page_bytes=5_000, max_bad_fraction=1.0)
    )
    assert list(result.documents) == ["h/a"]
    assert {q["file"]: q["reason"] for q in result.quarantine} == {
        "b.html": "page_too_large",
        "c.html.gz": "expansion_ratio",
        "d.html.gz": "truncated_gzip",
    }


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        ("grüß".encode(), "iso-8859-1", "grüß"),  # valid UTF-8 is UTF-8, whatever the header says
        ("grüß".encode("latin-1"), None, "grüß"),
        ("“grüß”".encode("cp1252"), "iso-8859-1", "“grüß”"),
        ("汉字".encode("gb18030"), "gb2312", "汉字"),
        ("漢字かな".encode("cp932"), "Shift_JIS", "漢字かな"),
        (b'<meta charset="euc-kr">' + "한글".encode("cp949"), None, '<meta charset="euc-kr">한글'),
        (
            b'<meta http-equiv=Content-Type content="text/html; charset=big5">' + b"\xa4\xa4",
            "nonsense",
            '<meta http-equiv=Content-Type content="text/html; charset=big5">中',
        ),
        ("漢字".encode("iso2022_jp"), "iso-2022-jp", "漢字"),
        ("weit".encode("utf-16"), None, "weit"),
        ("weit".encode("utf-16-le"), "utf-16", "weit"),
        (b"\xef\xbb\xbfmark", "latin-1", "mark"),
    ],
)
def test_pages_are_decoded_as_browsers_would(data: bytes, declared: str, text: str) -> None:
    page = decode_page(data, declared)
    assert (page.text, page.is_text) == (text, True)


def test_bytes_that_are_no_text_are_not_taken_for_it() -> None:
    assert not decode_page(bytes(range(128, 256)) * 10, "utf-8").is_text
    assert decode_page(b"a" * 1000 + b"\xff", "utf-8").replaced == 1
    assert codec_of("rot13") is None


def response(body: bytes, **headers: str) -> HttpResponse:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(200, fields, body)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"page" * 99)),
        ("deflate", zlib.compress(b"page" * 99)),
        ("deflate", zlib.compress(b"page" * 99)[2:-4]),
        ("zstd", zstandard.compress(b"page" * 99)),
        ("gzip", b"page" * 99),  # the crawler undid it and left the header
        ("zstd", b"page" * 99),
        ("identity", b"page" * 99),
        ("gzip", gzip.compress(b"page" * 99)[:-3]),  # all of the text is there
    ],
)
def test_content_codings_are_undone(coding: str, packed: bytes) -> None:
    assert decoded_body(response(packed, content_encoding=coding), 1000) == b"page" * 99


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"4\r\npage\r\n2;x=y\r\nab\r\n0\r\n\r\n", b"pageab"),
        (b"4\r\npage\r\n5\r\nab", b"pageab"),
        (b"<p>never chunked</p>", b"<p>never chunked</p>"),
        (b"ffffffffffffffffffff\r\nx", b"ffffffffffffffffffff\r\nx"),
    ],
)
def test_chunks_are_joined(body: bytes, whole: bytes) -> None:
    assert decoded_body(response(body, transfer_encoding="chunked"), 1000) == whole


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
def test_coded_bomb_stops_at_the_limit(coding: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}
    if coding == "br":
        pack["br"] = pytest.importorskip("brotli").compress
    with pytest.raises(BadMessage, match="max_page_bytes=1000") as error:
        decoded_body(response(pack[coding](b"0" * 10_000_000), content_encoding=coding), 1000)
    assert error.value.reason == "page_too_large"


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=80), st.sampled_from(["gzip", "deflate", "zstd", "br", "x", "gzip, br"]))
def test_any_stored_response_is_read_or_refused(data: bytes, coding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for message in (data, head.encode() + data):
        try:
            assert len(decoded_body(parse_response(message), 1000)) <= 1000
        except BadMessage as error:
            assert error.reason in ("bad_http", "page_too_large")
    decode_page(data, coding)
