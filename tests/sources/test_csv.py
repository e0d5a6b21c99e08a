import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.corpus.sources.delimited import CsvSource
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter
from tests.sources.conftest import Read

Reader = Callable[..., Read]


def source(path: Path, **settings: object) -> CsvSource:
    return CsvSource(name="c", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def test_quotes_newlines_and_byte_order_mark_are_understood(tmp_path: Path, read: Reader) -> None:
    data = b'\xef\xbb\xbfid,text\r\n1,"a ""q"", b\r\nsecond"\r\n\r\n2,x\r\n'
    (tmp_path / "x.csv").write_bytes(data)
    result = read(source(tmp_path / "x.csv"))
    assert result.documents == {"c/x/1": 'a "q", b\r\nsecond', "c/x/2": "x"}
    assert result.facts[0]["skipped"] == {"blank_line": 1}


def test_tabs_and_delimiters_are_chosen_by_name_or_setting(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(b"text\tn\na,b\t1\n"))
    (tmp_path / "y.csv").write_bytes(b"text;n\na,b;1\n")
    assert read(source(tmp_path / "x.tsv.gz")).documents == {"c/x/0": "a,b"}
    assert read(source(tmp_path / "y.csv", delimiter=";")).documents == {"c/y/0": "a,b"}


def test_fields_become_id_and_metadata(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.csv").write_bytes(b"key,body,link,lang\nk,hello,http://a,en-GB\n")
    result = read(
        source(
            tmp_path / "x.csv",
            text_field="body",
            id_field="key",
            url_field="link",
            language_field="lang",
            metadata_fields=("key",),
        )  # fmt: skip
    )
    assert result.metadata["c/x/k"] == {
        "url": "http://a", "language": "en", "key": "k", "file": "x.csv", "row": 0,
    }  # fmt: skip


def test_ragged_and_empty_rows_are_quarantined(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.csv").write_bytes(b"id,text\n1,a\n2\n3,b,c\n4,\n5,d\n")
    result = read(source(tmp_path / "x.csv"))
    assert list(result.documents.values()) == ["a", "d"]
    assert result.reasons == ["ragged_row", "ragged_row", "missing_text"]
    assert result.quarantine[0]["position"] == "line 3 (byte 12)"


@pytest.mark.parametrize("limit", [1 << 20, 40])
def test_open_quote_costs_its_own_line_only(tmp_path: Path, read: Reader, limit: int) -> None:
    (tmp_path / "x.csv").write_bytes(b'id,text\n1,"open\n2,fine\n3,also fine and long\n')
    result = read(source(tmp_path / "x.csv", max_line_bytes=limit))
    assert result.documents == {"c/x/2": "fine", "c/x/3": "also fine and long"}
    assert result.reasons == ["unclosed_quote"]


def test_field_longer_than_the_csv_modules_own_limit_is_read(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.csv").write_bytes(b"text\n" + b"x" * 300_000 + b"\n")
    assert len(read(source(tmp_path / "x.csv")).documents["c/x/0"]) == 300_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n1,2\n", "missing_column"),
        (b"text,text\n1,2\n", "duplicate_key"),
        (b'"text\n1\n2\n', "bad_csv"),
        (b"text\rold mac\r", "bad_csv"),
    ],
)
def test_unusable_header_is_one_break_and_other_files_are_read(
    tmp_path: Path, read: Reader, data: bytes, reason: str
) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    (tmp_path / "b.csv").write_bytes(b"text\nfine\n")
    result = read(source(tmp_path))
    assert result.documents == {"c/b/0": "fine"}
    assert result.reasons == [reason]


def test_header_may_be_given(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,a\n2,b\n")
    assert read(source(tmp_path / "x.csv", header=("id", "text"))).documents == {
        "c/x/1": "a",
        "c/x/2": "b",
    }


def test_other_encodings_are_read_and_what_is_none_is_quarantined(
    tmp_path: Path, read: Reader
) -> None:
    (tmp_path / "x.csv").write_bytes("text\n汉字\n".encode("gb18030") + b"\xff\xff\nok\n")
    result = read(source(tmp_path / "x.csv", encoding="gbk"))
    assert list(result.documents.values()) == ["汉字", "ok"]
    assert result.reasons == ["invalid_utf8"]


def test_unknown_encodings_and_delimiters_are_refused(tmp_path: Path) -> None:
    for wrong in ({"encoding": "klingon"}, {"encoding": "rot13"}, {"delimiter": '"'}):
        with pytest.raises(ValidationError):
            source(tmp_path, **wrong)


def parsed(tmp_path: Path, data: bytes, **settings: object) -> PartWriter:
    path = tmp_path / "fuzz.csv"
    path.write_bytes(data)
    config = source(path, **settings)
    with PartWriter(tmp_path, source="c") as writer:
        config.parse(InputUnit("fuzz", (InputFile(str(path), "fuzz.csv"),)), writer)
    return writer


quiet = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12
).filter(lambda cell: bool(cell.strip()))


@quiet
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path: Path, written: list[tuple[str, str]]
) -> None:
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["text", "other"])
    rows.writerows(written)
    writer = parsed(tmp_path, out.getvalue().encode())
    assert writer.num_documents == len(written)
    assert writer.facts()["quarantined"] == 0


@quiet
@given(st.binary(max_size=120) | st.text('a",\n\r', max_size=60).map(str.encode), st.integers(1, 9))
def test_any_bytes_end_without_an_error(tmp_path: Path, data: bytes, limit: int) -> None:
    facts = parsed(tmp_path, b"text\n" + data, max_line_bytes=limit + 4).facts()
    lines = len(data.split(b"\n"))
    assert facts["documents"] + facts["quarantined"] <= lines
