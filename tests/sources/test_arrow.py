from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.sources.arrow import ArrowSource
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.part import PartWriter
from tests.sources.conftest import Read

Reader = Callable[..., Read]
TEXTS = [f"text {i} ü" for i in range(1000)]


def source(path: Path, **settings: object) -> ArrowSource:
    return ArrowSource(name="a", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def write(path: Path, texts: list[str], *, stream: bool = False, batch_rows: int = 100) -> Path:
    table = pa.table({"text": texts, "n": range(len(texts))})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return path


@pytest.mark.parametrize("stream", [False, True])
def test_files_and_streams_are_read(tmp_path: Path, read: Reader, stream: bool) -> None:
    path = write(tmp_path / "x.arrow", TEXTS, stream=stream)
    result = read(source(path, metadata_fields=("n",)))
    assert result.documents == {f"a/x/{i}": text for i, text in enumerate(TEXTS)}
    assert result.metadata["a/x/7"] == {"n": 7, "file": "x.arrow", "row": 7}


def test_feather_is_read(tmp_path: Path, read: Reader) -> None:
    feather.write_feather(pa.table({"text": ["a", "b"]}), str(tmp_path / "x.feather"))
    assert list(read(source(tmp_path)).documents.values()) == ["a", "b"]


@pytest.mark.parametrize("stream", [False, True])
def test_truncated_file_is_a_break_and_others_are_read(
    tmp_path: Path, read: Reader, stream: bool
) -> None:
    write(tmp_path / "a.arrow", TEXTS, stream=stream)
    write(tmp_path / "b.arrow", ["fine"])
    data = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(data[: len(data) // 2])
    result = read(source(tmp_path))
    assert result.documents["a/b/0"] == "fine"
    assert result.reasons == ["bad_arrow"]
    assert (len(result.documents) > 100) == stream  # a file is found by its end, a stream is not


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pa.table({"content": ["a"]}), "missing_column"),
        (pa.table({"text": [1]}), "text_not_a_string"),
        (pa.table({"text": [["nested"]]}), "text_not_a_string"),
        (pa.table({"text": pa.nulls(1)}), "missing_text"),
    ],
)
def test_column_that_is_no_text_is_quarantined(
    tmp_path: Path, read: Reader, table: pa.Table, reason: str
) -> None:
    write(tmp_path / "b.arrow", ["fine"])
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    result = read(source(tmp_path))
    assert (list(result.documents), result.reasons) == (["a/b/0"], [reason])


def test_large_files_are_cut_between_batches_and_say_the_same(tmp_path: Path, read: Reader) -> None:
    path = write(tmp_path / "x.arrow", TEXTS)
    whole = read(source(path))
    cut = read(source(path, split_bytes=5_000), root=tmp_path / "cut")
    assert len(cut.parts) > 2
    assert list(cut.documents.values()) == list(whole.documents.values())
    assert [m["row"] for m in cut.metadata.values()] == list(range(1000))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(["file", "stream", "parquet"]))
def test_damaged_columns_never_crash_or_raise(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    path = tmp_path / f"fuzz.{kind}"
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": TEXTS[:40]}), path, compression="none")
    else:
        write(path, TEXTS[:40], stream=kind == "stream", batch_rows=10)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    made = source(path) if kind != "parquet" else ParquetSource(name="a", paths=(str(path),))
    with PartWriter(tmp_path, source="a") as writer:
        made.parse(InputUnit("x", (InputFile(str(path), path.name),)), writer)
    assert writer.num_documents <= 40


def test_a_value_python_cannot_hold_costs_itself_only(tmp_path: Path, read: Reader) -> None:
    far = pa.array([1, 1 << 62, None], pa.timestamp("s"))  # the second lies beyond the year 9999
    nowhere = pa.array([1, 2, None], pa.timestamp("us", tz="Mars/Phobos"))
    table = pa.table({"text": ["a", "b", "c"], "id": far, "timestamp": far, "seen": nowhere})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    result = read(source(tmp_path / "x.arrow", metadata_fields=("seen",)))
    assert list(result.documents.values()) == ["a", "b", "c"]
    assert [facts.get("timestamp") for facts in result.metadata.values()] == [
        "1970-01-01T00:00:01", None, None,
    ]  # fmt: skip
    assert result.facts[0]["dropped_metadata"] == 1 + 2
    assert result.facts[0]["replaced_ids"] == 1 + 1  # one is lost, one is no kind of id


def test_undecodable_words_of_a_dictionary_cost_their_rows_only(
    tmp_path: Path, read: Reader
) -> None:
    words = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), words)
    table = pa.table({"text": column, "url": column})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    result = read(source(tmp_path / "x.arrow"))
    assert result.documents == {"a/x/0": "ok", "a/x/2": "ok"}
    assert result.metadata["a/x/2"]["url"] == "ok"
    assert result.reasons == ["invalid_utf8"]
