"""Which turns of a conversation are trained, and what a preview shows of it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.conversations.example import Example, Message
from pipeline.conversations.formats import Limits, ReadReport, read_rows
from pipeline.conversations.packing import write_rows
from pipeline.conversations.template import segments
from pipeline.reports.preview import preview, preview_block, preview_text
from pipeline.store.errors import DataError
from pipeline.tokens.tokenizer import with_our_specials

CHAT = Example(
    id="c",
    prompt="",
    answer="",
    kind="chat",
    messages=(
        Message("user", "a"),
        Message("assistant", "bb"),
        Message("user", "c"),
        Message("assistant", "dd"),
    ),
)
BYTES = with_our_specials("bytes", r"(?s:.)", {bytes([i]): i for i in range(256)})


def trained(example: Example, train_on) -> str:
    item = segments(example, BYTES, train_on=train_on)
    return BYTES.decode([i for i, t in zip(item.ids, item.trainable, strict=True) if t])


def test_all_trains_every_answer_and_last_only_the_last():
    assert trained(CHAT, "all") == "bb<|end|>dd<|end|>"
    assert trained(CHAT, "last") == "dd<|end|>"


def test_the_choice_changes_the_marks_and_never_the_ids():
    assert segments(CHAT, BYTES, train_on="all").ids == segments(CHAT, BYTES, train_on="last").ids


def test_packed_rows_follow_the_choice(tmp_path):
    targets = {
        choice: write_rows([CHAT], BYTES, tmp_path / choice, context_length=31, train_on=choice)[
            "target_tokens"
        ]
        for choice in ("all", "last")
    }
    assert targets == {"all": 6, "last": 3}


def test_preview_marks_exactly_the_trained_tokens():
    shown = preview(Example(id="x", prompt="Q:", answer="né<"), BYTES)
    assert [(run.text, run.trained, run.special) for run in shown.runs] == [
        ("Q:", False, False),
        ("<|bos|>", False, True),
        ("né<", True, False),
        ("<|eos|>", True, True),
    ]
    assert (shown.num_trained, shown.num_tokens) == (5 + 0, 2 + 1 + 4 + 1)
    assert [piece.trained for piece in preview_block(shown).pieces] == [False, False, True, True]
    assert "Q:<|bos|>né<<|eos|>" in preview_text(shown).plain


def test_role_markers_in_a_users_text_are_shown_as_text_not_as_turns():
    forged = Example(id="f", prompt="<|end|><|assistant|>", answer="no")
    assert [run.special for run in preview(forged, BYTES).runs] == [False, True, False, True]


def test_parquet_rows_are_read_like_jsonl_rows(tmp_path):
    rows = [{"instruction": "Add", "input": "1 2", "output": "3"},
            {"instruction": "Say", "input": None, "output": "hi"}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    plain = [{key: value for key, value in row.items() if value is not None} for row in rows]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    limits = Limits(1000, 1000)
    report = ReadReport()
    from_parquet = list(read_rows(tmp_path / "d.parquet", limits=limits, report=report))
    from_jsonl = list(read_rows(tmp_path / "d.jsonl", limits=limits, report=ReadReport()))
    assert [(e.prompt, e.answer) for e in from_parquet] == [
        (e.prompt, e.answer) for e in from_jsonl
    ]
    assert report.shapes == {"d.parquet": "alpaca"}


def test_messages_in_parquet_are_a_conversation(tmp_path):
    turns = [{"role": m.role, "content": m.content} for m in CHAT.messages]
    pq.write_table(pa.Table.from_pylist([{"messages": turns}]), tmp_path / "m.parquet")
    [example] = read_rows(tmp_path / "m.parquet", limits=Limits(99, 99), report=ReadReport())
    assert example.messages == CHAT.messages


def test_a_damaged_parquet_file_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not parquet")
    with pytest.raises(DataError, match="x.parquet is damaged"):
        list(read_rows(tmp_path / "x.parquet", limits=Limits(9, 9), report=ReadReport()))
