import gzip
import json

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import iter_batches
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.part import PartWriter
from pipeline.store.errors import DataError

GOOD = b'{"id": "a", "text": "alpha"}\n'


def source(path, **settings) -> JsonlSource:
    return JsonlSource(name="web", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def write(tmp_path, *lines: bytes, name="x.jsonl"):
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_rows_become_documents_with_their_ids(tmp_path, read):
    path = write(tmp_path, b'{"id": "a", "text": "alpha"}', b'{"id": 7, "text": "beta"}')
    result = read(source(path))
    assert result.documents == {"web/x/a": "alpha", "web/x/7": "beta"}
    assert result.parts[0].source == "web"


def test_missing_ids_are_the_file_stem_and_row(tmp_path, read):
    path = write(tmp_path, b'{"text": "a"}', b"", b'{"text": "b", "id": null}')
    assert list(read(source(path)).documents) == ["web/x/0", "web/x/2"]


def test_repeated_ids_are_made_unique_and_counted(tmp_path, read):
    rows = [b'{"id": "a", "text": "1"}', b'{"id": "a", "text": "2"}', b'{"id": "a#2", "text": "3"}']
    result = read(source(write(tmp_path, *rows)))
    assert result.documents == {"web/x/a": "1", "web/x/a#2": "2", "web/x/a#2#2": "3"}
    assert result.facts[0]["duplicate_ids"] == 2


def test_unusable_ids_are_replaced_and_counted(tmp_path, read):
    long = json.dumps({"id": "x" * 5000, "text": "b"}).encode()
    rows = [
        b'{"id": [1], "text": "a"}',
        long,
        b'{"id": "", "text": "c"}',
        b'{"id": true, "text": "d"}',
    ]
    result = read(source(write(tmp_path, *rows)))
    assert list(result.documents) == ["web/x/0", "web/x/1", "web/x/2", "web/x/3"]
    assert result.facts[0]["replaced_ids"] == 4


def test_fields_are_mapped_and_metadata_kept(tmp_path, read):
    path = write(tmp_path, b'{"content": "c", "url": "u", "n": {"deep": [1]}, "other": 1}')
    result = read(
        source(path, text_field="content", id_field="url", metadata_fields=("n", "absent"))
    )
    assert result.documents == {"web/x/u": "c"}
    assert result.metadata == {
        "web/x/u": {"n": {"deep": [1]}, "url": "u", "file": "x.jsonl", "row": 0}
    }


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compression_does_not_change_documents(tmp_path, read, suffix):
    data = b"".join(json.dumps({"text": f"text {i}"}).encode() + b"\n" for i in range(3000))
    packed = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[suffix]
    (tmp_path / f"x.jsonl{suffix}").write_bytes(packed)
    result = read(source(tmp_path / f"x.jsonl{suffix}"))
    assert result.documents == {f"web/x/{i}": f"text {i}" for i in range(3000)}


def test_batches_hold_at_most_a_thousand_documents(tmp_path, read):
    path = write(tmp_path, *(b'{"text": "t"}' for _ in range(2500)))
    part = read(source(path)).parts[0]
    assert [len(batch) for batch in iter_batches(part.documents_path)] == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "torn', "bad_json"),
        (b"not json", "bad_json"),
        (b'{"text": "\xff\xfe"}', "invalid_utf8"),
        (b'{"id": 1}', "missing_text"),
        (b'{"text": 5}', "text_not_a_string"),
        (b'{"text": null}', "text_not_a_string"),
        (b'["text"]', "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"text": "a", "text": "b"}', "duplicate_key"),
        (b'{"id": 1, "id": 2, "text": "b"}', "duplicate_key"),
        (b'{"text": "a", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b'{"text": "a", "n": ' + b"9" * 10_000 + b", \xff}", "invalid_utf8"),
        (b'{"text": "' + b"x" * 30_000_000 + b'"}', "too_long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_line_is_quarantined_and_its_neighbours_kept(tmp_path, read, line, reason):
    path = write(tmp_path, b'{"id": "a", "text": "alpha"}', line, b'{"id": "b", "text": "beta"}')
    result = read(source(path))
    assert result.documents == {"web/x/a": "alpha", "web/x/b": "beta"}
    assert result.reasons == [reason]
    assert result.quarantine[0]["file"] == "x.jsonl"
    assert result.quarantine[0]["position"] == "line 2 (byte 29)"
    assert result.facts[0]["quarantine_reasons"] == {reason: 1}


def test_repeated_key_in_a_nested_object_is_no_fault(tmp_path, read):
    path = write(tmp_path, b'{"text": "a", "inner": {"text": "b"}}')
    assert list(read(source(path)).documents.values()) == ["a"]


def test_text_that_quotes_the_key_is_no_fault(tmp_path, read):
    text = 'say "text" and "id" twice: "text" "id"'
    path = write(tmp_path, json.dumps({"text": text}).encode())
    assert list(read(source(path)).documents.values()) == [text]


def test_lone_surrogates_are_repaired_and_counted(tmp_path, read):
    path = write(tmp_path, rb'{"text": "a\ud800b \ud83d\ude00"}')
    result = read(source(path))
    assert result.documents == {"web/x/0": "a\ufffdb \U0001f600"}
    assert result.facts[0]["repaired_surrogates"] == 1


def test_byte_order_mark_crlf_and_nan_are_understood(tmp_path, read):
    path = write(tmp_path, b'\xef\xbb\xbf{"text": "a"}\r', b'{"text": "b", "score": NaN}\r')
    assert list(read(source(path)).documents.values()) == ["a", "b"]


def test_nul_and_control_characters_survive(tmp_path, read):
    path = write(tmp_path, rb'{"text": "a\u0000b\u0007"}')
    assert list(read(source(path)).documents.values()) == ["a\x00b\x07"]


def test_truncated_gzip_keeps_rows_before_the_break(tmp_path, read):
    rows = [json.dumps({"text": f"{i * 2654435761 % 2**32:032b}"}).encode() for i in range(2000)]
    data = gzip.compress(b"\n".join(rows))
    (tmp_path / "x.jsonl.gz").write_bytes(data[: len(data) // 2])
    result = read(source(tmp_path / "x.jsonl.gz", max_bad_fraction=0.05))
    assert 500 < len(result.documents) < 1500
    assert result.reasons == ["truncated_gzip"]
    assert result.facts[0]["breaks"] == 1


def test_same_stem_in_two_folders_gives_distinct_ids(tmp_path, read):
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write(tmp_path / "in" / folder, b'{"text": "t"}')
    assert list(read(source(tmp_path / "in")).documents) == ["web/a/x/0", "web/b/x/0"]
    explicit = JsonlSource(
        name="two", paths=tuple(str(tmp_path / "in" / f / "x.jsonl") for f in "ab")
    )
    assert list(read(explicit).documents) == ["two/x/0", "two/2~x/0"]


def test_globs_and_hidden_files(tmp_path, read):
    (tmp_path / "in").mkdir()
    for name in ("a.jsonl", "b.jsonl", ".hidden.jsonl", "c.txt"):
        write(tmp_path / "in", b'{"text": "t"}', name=name)
    assert list(read(source(tmp_path / "in" / "*.jsonl")).documents) == ["web/a/0", "web/b/0"]
    assert list(read(source(tmp_path / "in")).documents) == ["web/a/0", "web/b/0"]


@pytest.mark.parametrize("name", ["absent.jsonl", "none-*.jsonl", "empty"])
def test_missing_input_is_a_data_error_that_names_it(tmp_path, read, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="web.*" + name.replace("*", r"\*")):
        read(source(tmp_path / name))


def test_empty_file_is_a_data_error_with_a_remedy(tmp_path, read):
    (tmp_path / "x.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="no usable document.*check its paths"):
        read(source(tmp_path / "x.jsonl"))


def test_utf16_lines_are_told_to_be_converted(tmp_path, read):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}', encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16; JSON Lines are UTF-8"):
        read(source(tmp_path / "x.jsonl"))


def test_json_array_is_told_how_to_become_lines(tmp_path, read):
    (tmp_path / "x.json").write_text(json.dumps([{"text": "a"}], indent=1))
    with pytest.raises(DataError, match=r"jq -c '\.\[\]'"):
        read(source(tmp_path / "x.json"))


def test_too_many_bad_rows_stop_the_run_and_name_the_quarantine(tmp_path, read):
    path = write(tmp_path, *[b'{"text": "a"}'] * 18, b"bad", b"bad")
    with pytest.raises(DataError) as error:
        read(source(path, max_bad_fraction=0.05))
    for told in ("2 of 20", "10.0%", "bad_json 2", "max_bad_fraction=0.05", "quarantine.jsonl"):
        assert told in str(error.value)
    assert len(read(source(path, max_bad_fraction=0.1)).documents) == 18


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
rows = st.dictionaries(st.sampled_from(["text", "id", "x"]), json_values, max_size=3)
lines = st.one_of(st.binary(max_size=40), rows.map(lambda row: json.dumps(row).encode()))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(lines, max_size=8), st.integers(1, 60))
def test_any_bytes_are_read_or_quarantined_and_nothing_is_lost(tmp_path, content, limit):
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(b"\n".join(content))
    config = source(path, max_line_bytes=limit, metadata_fields=("x",))
    with PartWriter(tmp_path, source="fuzz") as writer:
        config.parse(InputUnit("fuzz", (InputFile(str(path), "fuzz.jsonl"),)), writer)
    facts = writer.facts()
    physical = path.read_bytes().split(b"\n")
    blank = sum(not line.strip() for line in physical if len(line) <= limit)
    if physical and physical[0].startswith(b"\xef\xbb\xbf"):
        return
    assert facts["documents"] + facts["quarantined"] + blank == len(physical)
    assert facts["skipped"].get("blank_line", 0) in (blank, blank - (not physical[-1]))
    batches = list(iter_batches(tmp_path / "documents.arrow"))
    ids = [doc_id for batch in batches for doc_id in batch.doc_ids]
    assert len(ids) == len(set(ids)) == facts["documents"]
    assert sum(int(batch.num_bytes.sum()) for batch in batches) == facts["bytes"]


def test_repeated_key_written_as_an_escape_is_a_repeated_key(tmp_path, read):
    path = write(tmp_path, b'{"\\u0074ext": "a", "text": "b"}', b'{"\\u0074ext": "\\u0074he"}')
    result = read(source(path))
    assert result.documents == {"web/x/1": "the"}
    assert result.reasons == ["duplicate_key"]
