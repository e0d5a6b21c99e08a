"""A user's rows: every shape is recognised, every bad row counted, every wrong file shown."""

import gzip
import json
from pathlib import Path

import pytest

from pipeline.conversations.example import Message
from pipeline.conversations.formats import Limits, ReadReport, data_file, read_rows
from pipeline.conversations.own_pairs import JsonlPairs, pairs_from_files
from pipeline.conversations.row_files import MAX_LINE_BYTES
from pipeline.store.errors import DataError

LIMITS = Limits(prompt_bytes=1_000, answer_bytes=1_000)
GOOD = {"prompt": "p", "answer": "a"}


def own(config: JsonlPairs):
    return pairs_from_files(config, config.files(Path()), LIMITS, 0)


def read(path):
    report = ReadReport()
    return list(read_rows(path, limits=LIMITS, report=report)), report


def written(path, rows):
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize(("row", "shape", "question", "answer"), [
    ({"prompt": "p", "answer": "a"}, "pair", "p", "a"),
    ({"instruction": "do", "output": "a"}, "alpaca", "do", "a"),
    ({"instruction": "do", "input": "this", "output": "a"}, "alpaca", "do\n\nthis", "a"),
    ({"instruction": "do", "input": "", "output": "a"}, "alpaca", "do", "a"),
    ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]},
     "messages", "user: p", "a"),
    ({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]},
     "sharegpt", "user: p", "a"),
])  # fmt: skip
def test_each_shape_is_recognised_and_named(tmp_path, row, shape, question, answer):
    (example,), report = read(written(tmp_path / "x.jsonl", [row]))
    assert (example.question, example.expected) == (question, answer)
    assert report.shapes == {"x.jsonl": shape}


def test_sharegpt_becomes_a_conversation(tmp_path):
    """T14: the shape that other trainers refuse or mistake."""
    turns = [("system", "s"), ("human", "p"), ("gpt", "a")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    (example,), _ = read(written(tmp_path / "x.jsonl", [row]))
    assert example.messages == (
        Message("system", "s"),
        Message("user", "p"),
        Message("assistant", "a"),
    )


@pytest.mark.parametrize(("bad", "reason"), [
    (b"{not json\n", "not JSON"),
    (b'{"prompt": "\xff", "answer": "a"}\n', "invalid UTF-8"),
    (b"[1, 2]\n", "not a JSON object"),
    (b'{"prompt": "a", "prompt": "b", "answer": "c"}\n', "a key occurs twice"),
    (b"[" * 100_000 + b"\n", "nested too deeply"),
    (b'{"prompt": "\\ud800", "answer": "a"}\n', "lone surrogate"),
    (b'{"prompt": 3, "answer": "a"}\n', "prompt is not text"),
    (b'{"prompt": "p", "answer": "  "}\n', "empty answer"),
    (b'{"prompt": "", "answer": "a"}\n', "empty prompt"),
    (b'{"prompt": "' + b"p" * 2_000 + b'", "answer": "a"}\n', "prompt longer than 1000 bytes"),
    (b'{"prompt": "p", "answer": "' + b"a" * 2_000 + b'"}\n', "answer longer than 1000 bytes"),
    (b'{"prompt": "' + b"p" * (MAX_LINE_BYTES + 10) + b'", "answer": "a"}\n',
     f"line longer than {MAX_LINE_BYTES} bytes"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_a_bad_row_is_quarantined_with_position_and_reason(tmp_path, bad, reason):
    examples, report = read(written(tmp_path / "x.jsonl", [GOOD, bad, GOOD]))
    assert len(examples) == 2
    assert report.quarantined == [{"file": "x.jsonl", "position": 2, "reason": reason}]


@pytest.mark.parametrize(("messages", "reason"), [
    ([], "no messages"),
    ([{"role": "user"}], "a message lacks role or content"),
    ([{"role": "tool", "content": "x"}], "unknown role 'tool'"),
    ([{"role": "user", "content": "x"}], "the last message is not the assistant's"),
    ([{"role": "assistant", "content": "x"}], "the conversation starts with the assistant"),
])  # fmt: skip
def test_a_conversation_that_cannot_be_used_is_quarantined(tmp_path, messages, reason):
    _, report = read(written(tmp_path / "x.jsonl", [{"messages": messages}]))
    assert report.reasons() == {reason: 1}


def test_a_torn_last_line_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "p", "answer": "a"}\n\n{"prompt": "p", "ans')
    examples, report = read(path)
    assert len(examples) == 1 and report.reasons() == {"not JSON": 1}


def test_an_unknown_shape_shows_the_row_and_the_known_shapes(tmp_path):
    path = written(tmp_path / "x.jsonl", [{"promt": "p", "answer": "a"}])
    with pytest.raises(
        DataError, match=r"x.jsonl:1 fits no known shape: \{'promt'.*pair: answer, prompt"
    ):
        read(path)


def test_a_misspelt_key_in_a_later_row_shows_the_row(tmp_path):
    path = written(tmp_path / "x.jsonl", [GOOD, {"prompt": "p", "anwser": "a"}])
    with pytest.raises(
        DataError, match=r"x.jsonl:2 is not of shape pair.*'anwser'.*lacks 'answer'"
    ):
        read(path)


def test_an_extra_key_is_not_ignored(tmp_path):
    path = written(tmp_path / "x.jsonl", [GOOD | {"grup": "g"}])
    with pytest.raises(DataError, match="unknown key 'grup'"):
        read(path)


def test_mixed_shapes_are_an_error(tmp_path):
    path = written(tmp_path / "x.jsonl", [GOOD, {"instruction": "i", "output": "o"}])
    with pytest.raises(DataError, match="split the file by shape"):
        read(path)
    both = written(tmp_path / "y.jsonl", [GOOD | {"messages": []}])
    with pytest.raises(DataError, match="fits pair and messages"):
        read(both)


def test_gzip_is_read_and_a_truncated_one_is_named(tmp_path):
    data = gzip.compress(b'{"prompt": "p", "answer": "a"}\n' * 50)
    whole, cut = tmp_path / "w.jsonl.gz", tmp_path / "c.jsonl.gz"
    whole.write_bytes(data)
    cut.write_bytes(data[:-12])
    assert len(read(whole)[0]) == 50
    with pytest.raises(DataError, match="c.jsonl.gz is damaged"):
        read(cut)


def test_a_gzip_damaged_inside_is_named(tmp_path):
    data = bytearray(gzip.compress(b'{"prompt": "p", "answer": "a"}\n'))
    data[10] = 0b111  # after the header of 10 bytes: a last block of a kind that does not exist
    (tmp_path / "d.jsonl.gz").write_bytes(data)
    with pytest.raises(DataError, match="d.jsonl.gz is damaged"):
        read(tmp_path / "d.jsonl.gz")


def test_a_directory_is_no_file_and_tilde_is_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "p.jsonl", [GOOD])
    assert data_file("~/p.jsonl") == tmp_path / "p.jsonl"
    with pytest.raises(DataError, match="is a directory"):
        data_file("~")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.jsonl does not exist"):
        read(tmp_path / "nowhere.jsonl")


def numbered(path, count, **extra):
    return written(path, [{"prompt": f"p{i}", "answer": "a", **extra} for i in range(count)])


def test_split_by_prompt_is_stable_when_rows_are_added(tmp_path):
    few = own(JsonlPairs(paths=(str(numbered(tmp_path / "a.jsonl", 100)),)))[0]
    many = own(JsonlPairs(paths=(str(numbered(tmp_path / "b.jsonl", 400)),)))[0]
    splits = ("train", "validation", "held_out")
    prompts = {split: {e.prompt for e in getattr(many, split)} for split in splits}
    for split, members in prompts.items():
        assert {e.prompt for e in getattr(few, split)} <= members
    assert not prompts["train"] & prompts["held_out"]
    assert 5 <= len(prompts["held_out"]) <= 45


def test_a_group_never_straddles_a_split(tmp_path):
    rows = [{"prompt": f"p{i}", "answer": "a", "topic": f"t{i % 40}"} for i in range(400)]
    config = JsonlPairs(
        paths=(str(written(tmp_path / "x.jsonl", rows)),), group_field="topic",
        held_out_fraction=0.2, validation_fraction=0.2,
    )  # fmt: skip
    pairs, _ = own(config)
    groups = [{e.group for e in part} for part in (pairs.train, pairs.validation, pairs.held_out)]
    assert all(groups) and sum(map(len, groups)) == 40


def test_repeated_prompts_are_removed_and_counted(tmp_path):
    path = written(tmp_path / "x.jsonl", [GOOD, {"prompt": "P ", "answer": "other"}])
    pairs, _ = own(JsonlPairs(paths=(str(path),)))
    assert pairs.removed == {"repeated_prompt": 1}


def test_too_many_bad_rows_stop_the_run(tmp_path):
    path = written(tmp_path / "x.jsonl", [GOOD, b"torn\n"])
    with pytest.raises(
        DataError, match=r"1 of 2 rows are unusable .*not JSON.*max_bad_fraction=0.05"
    ):
        own(JsonlPairs(paths=(str(path),)))


def test_fractions_must_leave_training_rows():
    with pytest.raises(ValueError, match="leaves nothing to train on"):
        JsonlPairs(paths=("x",), validation_fraction=0.5, held_out_fraction=0.5)
