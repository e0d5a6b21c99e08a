"""Rows at the edges: nulls, wrong types, damaged tables, named formats, files of one name."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.conversations.example import read_examples, write_examples
from pipeline.conversations.formats import Limits, Reading, ReadReport, read_rows
from pipeline.conversations.own_pairs import JsonlPairs, pairs_from_files
from pipeline.store.errors import DataError

LIMITS = Limits(prompt_bytes=1_000, answer_bytes=1_000)
GOOD = {"prompt": "p", "answer": "a"}
TALK = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]


def read(path, reading=None):
    report = ReadReport()
    return list(read_rows(path, limits=LIMITS, report=report, reading=reading)), report


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def own(**options):
    config = JsonlPairs(held_out_fraction=0, validation_fraction=0, **options)
    return pairs_from_files(config, config.files(Path()), LIMITS, 0)


def talk(*turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


@pytest.mark.parametrize(("bad", "reason"), [
    ({"prompt": None, "answer": "a"}, "prompt is null"),
    (GOOD | {"id": "\ud800"}, "lone surrogate"),
    (GOOD | {"group": "\ud800"}, "lone surrogate"),
    (GOOD | {"kind": "\ud800"}, "lone surrogate"),
    (GOOD | {"id": {"a": 1}}, "id is neither text nor a number"),
    (GOOD | {"group": ["a"]}, "group is neither text nor a number"),
    (GOOD | {"kind": ["a"]}, "kind is not text"),
    (GOOD | {"copy_baseline": 3}, "copy_baseline is not text"),
    (GOOD | {"open_book": "false"}, "open_book is not true or false"),
    ({"prompt": "\u200b\u00a0", "answer": "a"}, "empty prompt"),
    ({"prompt": "p", "answer": "\ufeff"}, "empty answer"),
], ids=str)  # fmt: skip
def test_a_value_of_a_wrong_type_is_quarantined(tmp_path, bad, reason):
    examples, report = read(written(tmp_path / "x.jsonl", GOOD, bad))
    assert len(examples) == 1
    assert report.quarantined == [{"file": "x.jsonl", "position": 2, "reason": reason}]


@pytest.mark.parametrize(("row", "reason"), [
    (talk(("user", " "), ("assistant", "a")), "empty prompt"),
    (talk(("user", "x"), ("assistant", ""), ("user", "y"), ("assistant", "a")), "empty answer"),
    (talk(("system", "x"), ("assistant", "a")), "the conversation starts with the assistant"),
    ({"messages": "[]"}, "the messages are not a list"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "role is not text"),
    ({"messages": [TALK[0], TALK[1] | {"weight": 0}]}, "a message has the unknown key 'weight'"),
], ids=str)  # fmt: skip
def test_a_turn_that_teaches_nothing_or_means_something_else_is_quarantined(tmp_path, row, reason):
    examples, report = read(written(tmp_path / "x.jsonl", row))
    assert (examples, report.reasons()) == ([], {reason: 1})


def test_an_empty_system_turn_is_a_turn_without_words(tmp_path):
    row = talk(("system", ""), ("user", "x"), ("assistant", "a"))
    assert len(read(written(tmp_path / "x.jsonl", row))[0]) == 1


def test_a_null_is_a_key_that_is_not_there(tmp_path):
    rows = [
        {"instruction": "i", "input": None, "output": "o", "id": None, "group": None, "kind": None}
    ]
    for path in (
        written(tmp_path / "x.jsonl", *rows),
        table(tmp_path / "x.parquet", {key: [value] for key, value in rows[0].items()}),
    ):
        [example] = read(path)[0]
        assert (example.prompt, example.id, example.kind) == ("i", f"{path.name}:1", "instruction")


def test_a_null_in_a_column_costs_the_row_not_the_run(tmp_path):
    path = table(tmp_path / "x.parquet", {"prompt": [None, "b", "c"], "answer": ["x", "y", None]})
    examples, report = read(path)
    assert [example.prompt for example in examples] == ["b"]
    assert report.reasons() == {"prompt is null": 1, "answer is null": 1}


def test_columns_of_two_shapes_are_a_mixed_file(tmp_path):
    columns = {"prompt": ["p", None], "answer": ["a", None],
               "instruction": [None, "i"], "output": [None, "o"]}  # fmt: skip
    with pytest.raises(DataError, match=r"x.parquet:2 has the unknown key 'instruction'"):
        read(table(tmp_path / "x.parquet", columns))


def test_bytes_that_are_no_text_cost_a_table_one_row(tmp_path):
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    prompt = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xffc")])
    path = table(tmp_path / "x.parquet", {"prompt": prompt, "answer": ["x", "y", "z"]})
    examples, report = read(path)
    assert [(example.prompt, example.answer) for example in examples] == [("a", "x"), ("c", "z")]
    assert report.quarantined == [
        {"file": "x.parquet", "position": 2, "reason": "invalid UTF-8"}
    ]  # fmt: skip


def test_two_columns_of_one_name_are_refused(tmp_path):
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    names = ["prompt", "prompt", "answer"]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="has two columns 'prompt'"):
        read(tmp_path / "x.parquet")


def test_a_parquet_file_of_few_bytes_that_stands_for_gigabytes_is_refused(tmp_path):
    answer = pa.DictionaryArray.from_arrays(
        pa.array([0] * 900, pa.int32()), pa.array(["a" * 2**22])
    )
    columns = {"prompt": [str(i) for i in range(900)], "answer": answer}
    whole = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", **whole)  # 3.8 GB
    with pytest.raises(DataError, match=r"x.parquet would take too much memory .* limit 250 times"):
        read(tmp_path / "x.parquet")


@pytest.mark.parametrize("text", ['[{"prompt": "p", "answer": "a"}]', '\ufeff[\n{"prompt"'])
def test_a_json_array_is_told_apart_from_a_damaged_file(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match="is one JSON array; write an object per line"):
        read(tmp_path / "x.json")


@pytest.mark.parametrize(("name", "text", "told"), [
    ("x.json", '{\n  "prompt": "p",\n  "answer": "a"\n}', "JSON over several lines"),
    ("x.CSV", "prompt,answer\np,a\n", r"dataset: csv, data_files"),
    ("x.jsonl.zst", "?", "unpack it"),
    ("x.yaml", "- prompt: p", "write an object per line"),
])  # fmt: skip
def test_a_file_that_is_no_json_lines_is_told_what_to_become(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read(tmp_path / name)


def test_the_ending_of_a_name_may_be_in_capitals(tmp_path):
    assert read(table(tmp_path / "X.PARQUET", {"prompt": ["a"], "answer": ["b"]}))[0]


def test_a_named_format_is_not_guessed(tmp_path):
    row = GOOD | {"messages": TALK}
    path = str(written(tmp_path / "x.jsonl", row))
    with pytest.raises(DataError, match="fits pair and messages"):
        own(paths=(path,))
    with pytest.raises(DataError, match=r"unknown key 'answer' in shape messages.*ignored_keys"):
        own(paths=(path,), format="messages")
    pairs, report = own(paths=(path,), format="messages", ignored_keys=("prompt", "answer"))
    assert pairs.train[0].messages and report.shapes == {"x.jsonl": "messages"}
    pairs, report = own(paths=(path,), ignored_keys=("messages",))
    assert not pairs.train[0].messages and report.shapes == {"x.jsonl": "pair"}
    with pytest.raises(DataError, match=r"x.jsonl:1 is not of shape alpaca.*lacks 'instruction'"):
        own(paths=(path,), format="alpaca")
    with pytest.raises(ValidationError, match="format"):
        own(paths=(path,), format="alpacca")


def test_ignored_keys_are_left_out_of_messages_too(tmp_path):
    path = written(tmp_path / "x.jsonl", {"messages": [TALK[0], TALK[1] | {"weight": 0}]})
    [example] = read(path, Reading(ignored_keys=frozenset({"weight"})))[0]
    assert [turn.content for turn in example.messages] == ["u", "a"]


def test_two_files_of_one_name_are_told_apart(tmp_path):
    paths = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        row = {"prompt": f"p{number}", "answer": "a"}
        paths.append(str(written(tmp_path / str(number) / "x.jsonl", row)))
    pairs, report = own(paths=tuple(paths))
    assert report.shapes == {"x.jsonl": "pair", "x.jsonl (2)": "pair"}
    assert [example.id for example in pairs.train] == ["x.jsonl:1", "x.jsonl (2):1"]


def test_whatever_is_read_can_be_written_and_read_again(tmp_path):
    odd = "\0\x1b[31m\u2028\u0085中文 👩‍👩‍👧 <|end|><|assistant|> <|bos|>"
    rows = [{"prompt": odd, "answer": odd, "id": 7, "group": 1.5},
            {"prompt": "q", "answer": "é" * 100}]  # fmt: skip
    examples, report = read(written(tmp_path / "x.jsonl", *rows))
    write_examples(tmp_path / "y.jsonl", examples)
    assert list(read_examples(tmp_path / "y.jsonl")) == examples and not report.quarantined


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "weight"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
KEYS = ["prompt", "answer", "messages", "instruction", "input", "output", "conversations", "id",
        "group", "kind", "open_book", "copy_baseline", "x"]  # fmt: skip
ROWS = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4).map(json.dumps),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode()),
        st.builds(lambda p, a: json.dumps({"prompt": p, "answer": a}), VALUES, VALUES),
        st.builds(lambda m: json.dumps({"messages": m}), VALUES),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.binary(max_size=8))
def test_any_file_is_read_quarantined_or_refused_by_name(tmp_path_factory, rows, tail):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes("\n".join(rows).encode("utf-8", "surrogatepass") + b"\n" + tail)
    try:
        examples, report = read(path)
    except DataError as error:
        assert "any.jsonl" in str(error)
        return
    assert report.read == len(examples)
    for example in examples:
        assert example.question.strip() and example.expected.strip() and example.group
    write_examples(path.with_name("again.jsonl"), examples)
    again = list(read_examples(path.with_name("again.jsonl")))
    assert [(e.question, e.expected, e.group) for e in again] == [
        (e.question, e.expected, e.group) for e in examples
    ]
