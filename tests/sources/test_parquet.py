import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.store.errors import DataError


def source(path, **settings) -> ParquetSource:
    return ParquetSource(name="table", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def test_rows_become_documents(tmp_path, read):
    table = pa.table({"id": ["a", "b"], "text": ["alpha", "beta"], "url": ["u", None], "n": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    result = read(source(tmp_path / "x.parquet", metadata_fields=("url", "n")))
    assert result.documents == {"table/x/a": "alpha", "table/x/b": "beta"}
    assert result.metadata == {
        "table/x/a": {"url": "u", "n": 1, "file": "x.parquet", "row": 0},
        "table/x/b": {"url": None, "n": 2, "file": "x.parquet", "row": 1},
    }


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_every_arrow_type_of_text_is_read(tmp_path, read, kind):
    values = ["é", "é", "b"]
    column = (
        pa.array(values).dictionary_encode()
        if pa.types.is_dictionary(kind)
        else pa.array(values).cast(kind)
    )
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    assert read(source(tmp_path / "x.parquet")).documents == {
        "table/x/0": "é", "table/x/1": "é", "table/x/2": "b",
    }  # fmt: skip


def test_null_long_and_undecodable_texts_are_quarantined(tmp_path, read):
    column = pa.array([b"ok", None, b"\xff\xfe", b"x" * 100]).cast(pa.binary())
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    result = read(source(tmp_path / "x.parquet", max_text_bytes=50))
    assert result.documents == {"table/x/0": "ok"}
    found = [(r["position"], r["reason"]) for r in result.quarantine]
    assert found == [
        ("row 1", "missing_text"),
        ("row 2", "invalid_utf8"),
        ("row 3", "text_too_long"),
    ]


def test_absent_text_column_is_a_data_error_naming_the_columns(tmp_path, read):
    pq.write_table(pa.table({"content": ["a"], "score": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(
        DataError, match="no column 'text' among 'content', 'score'; set text_field to one"
    ):
        read(source(tmp_path / "x.parquet"))


def test_text_column_of_numbers_is_a_data_error(tmp_path, read):
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds int64, expected text"):
        read(source(tmp_path / "x.parquet"))


def test_truncated_file_is_quarantined_and_the_others_kept(tmp_path, read):
    for name in ("a", "b"):
        pq.write_table(pa.table({"text": ["t"] * 10}), tmp_path / f"{name}.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    result = read(source(tmp_path))
    assert len(result.documents) == 10
    assert (result.quarantine[0]["file"], result.reasons) == ("a.parquet", ["bad_parquet"])


def test_damaged_page_takes_its_own_row_group_only(tmp_path, read):
    path = tmp_path / "x.parquet"
    texts = [f"{i} " * 50 for i in range(1000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=250, compression="none",
                   use_dictionary=False, write_page_checksum=True)  # fmt: skip
    data = bytearray(path.read_bytes())
    data[int(len(data) * 0.6)] ^= 0xFF
    path.write_bytes(data)
    result = read(source(path))
    assert list(result.documents.values()) == [*texts[:500], *texts[750:]]
    assert result.reasons == ["bad_parquet"]
