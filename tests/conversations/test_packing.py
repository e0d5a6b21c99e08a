"""Rows: nothing lost, nothing cut silently, nothing seen across segments, every drop counted."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architectures import GPT2Config
from model.loss import nll_sum
from pipeline.conversations.example import Example, Message, write_examples
from pipeline.conversations.packing import best_fit, write_rows
from pipeline.conversations.template import Segments
from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.batches import PackedRows
from tests.conversations.byte_tokenizer import ByteTokenizer

BOS, EOS = 256, 257


def pair(prompt, answer):
    return Example(id="the-id", prompt=prompt, answer=answer)


def rows_of(path):
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all().to_pylist()


def test_packed_rows_are_the_table(tokenizer, tmp_path):
    """T12: (Q:, ab) and (R, x) share a row of eleven; the rest is padding of segment 0."""
    path = tmp_path / "rows.arrow"
    facts = write_rows([pair("Q:", "ab"), pair("R", "x")], tokenizer, path, context_length=10)
    assert rows_of(path) == [{
        "ids": [81, 58, BOS, 97, 98, EOS, 82, BOS, 120, EOS, 0],
        "trainable": [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0],
        "segment": [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0],
    }]  # fmt: skip
    assert facts["rows"] == 1 and facts["examples"] == 2 and facts["target_tokens"] == 5
    assert facts["efficiency"] == 10 / 11
    batch = PackedRows(path, rows=1).batch(0)
    assert batch["positions"][0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert batch["loss_mask"][0].tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1, 0]


def test_unpacked_rows_hold_one_example_each(tokenizer, tmp_path):
    path = tmp_path / "rows.arrow"
    examples = [pair("Q:", "ab"), pair("R", "x")]
    facts = write_rows(examples, tokenizer, path, context_length=10, pack=False)
    assert facts["rows"] == 2
    assert all(max(row["segment"]) == 1 and len(row["ids"]) == 11 for row in rows_of(path))


def test_schema_is_what_the_loader_reads(tokenizer, tmp_path):
    path = tmp_path / "rows.arrow"
    write_rows([pair("a", "b")], tokenizer, path, context_length=7)
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.open_file(file).schema
    assert schema.field("ids").type == pa.list_(pa.uint32())
    assert schema.field("trainable").type == pa.list_(pa.uint8())
    assert schema.field("segment").type == pa.list_(pa.uint32())
    assert schema.metadata[b"context_length"] == b"7"
    assert schema.metadata[b"tokenizer_sha256"] == b"bytes"


def test_too_long_example_is_dropped_and_counted(tokenizer, tmp_path):
    path = tmp_path / "rows.arrow"
    facts = write_rows(
        [pair("LONG PROMPT", "a"), pair("Q", "a")], tokenizer, path, context_length=6
    )
    assert facts["dropped"] == {"too_long": 1} and facts["examples"] == 1


def test_truncation_cuts_the_beginning_of_the_prompt_and_never_the_answer(tokenizer, tmp_path):
    """T6: 'Q:LONG' -> 'a' in a row of five keeps 'NG'."""
    path = tmp_path / "rows.arrow"
    facts = write_rows(
        [pair("Q:LONG", "a")], tokenizer, path, context_length=4, policy="truncate_prompt_left"
    )
    assert rows_of(path)[0]["ids"] == [78, 71, BOS, 97, EOS]
    assert rows_of(path)[0]["trainable"] == [0, 0, 0, 1, 1]
    assert facts["truncated"] == 1


def test_truncation_may_take_the_whole_prompt_but_then_drops_the_example(tokenizer, tmp_path):
    path = tmp_path / "rows.arrow"
    examples = [pair("Q", "abc"), pair("Q", "abcd")]
    facts = write_rows(examples, tokenizer, path, context_length=4, policy="truncate_prompt_left")
    assert rows_of(path)[0]["ids"] == [BOS, 97, 98, 99, EOS]
    assert facts["dropped"] == {"answer_too_long": 1}


def test_truncation_of_a_conversation_drops_its_oldest_turns_not_the_system_turn(
    tokenizer, tmp_path
):
    turns = [
        ("system", "s"),
        ("user", "old"),
        ("assistant", "x"),
        ("user", "q"),
        ("assistant", "a"),
    ]
    example = Example("id", "", "", messages=tuple(Message(*turn) for turn in turns))
    path = tmp_path / "rows.arrow"
    write_rows([example], tokenizer, path, context_length=12, policy="truncate_prompt_left")
    ids = rows_of(path)[0]["ids"]
    assert ids == [BOS, 262, 115, 261, 259, 113, 261, 260, 97, 261, 0, 0, 0]


def test_policy_error_names_example_length_limit_and_remedy(tokenizer, tmp_path):
    with pytest.raises(DataError, match="'the-id' has 9 tokens, a row holds 5; .*context_length"):
        write_rows(
            [pair("Q:LONG", "a")], tokenizer, tmp_path / "r.arrow", context_length=4, policy="error"
        )


def test_unknown_policy_is_refused(tokenizer, tmp_path):
    with pytest.raises(ConfigError, match="policy='cut' is unknown; use one of drop"):
        write_rows([pair("a", "b")], tokenizer, tmp_path / "r", context_length=4, policy="cut")


def test_rows_without_any_target_are_dropped_after_truncation_and_counted(tokenizer, tmp_path):
    """T13: a fully masked row must not survive; here a conversation nobody answers."""
    silent = Example("id", "", "", messages=(Message("user", "anyone?"),))
    facts = write_rows([silent, pair("a", "b")], tokenizer, tmp_path / "r.arrow", context_length=20)
    assert facts["dropped"] == {"no_target": 1}


def test_nothing_left_is_an_error_not_an_empty_file(tokenizer, tmp_path):
    """T7: a data set must not become empty without a word."""
    path = tmp_path / "r.arrow"
    with pytest.raises(DataError, match=r"none of 1 examples .*too_long.*raise it"):
        write_rows([pair("LONG", "a")], tokenizer, path, context_length=2)
    assert not path.exists()


def test_rows_can_come_from_a_file(tokenizer, tmp_path):
    talk = Example("c", "", "", messages=(Message("user", "ü"), Message("assistant", "é")))
    examples = [pair("Q:", "ab"), talk]
    write_examples(tmp_path / "train.jsonl", examples)
    a, b = tmp_path / "a.arrow", tmp_path / "b.arrow"
    write_rows(tmp_path / "train.jsonl", tokenizer, a, context_length=16)
    write_rows(examples, tokenizer, b, context_length=16)
    assert a.read_bytes() == b.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=80), st.integers(40, 70))
def test_best_fit_places_each_item_once_within_capacity(lengths, capacity):
    bins = best_fit(lengths, capacity)
    assert sorted(itertools.chain(*bins)) == list(range(len(lengths)))
    loads = [sum(lengths[i] for i in items) for items in bins]
    assert all(load <= capacity for load in loads)
    # Two rows that would fit into one never both stay: at least half of all but one row is full.
    assert sum(load <= capacity / 2 for load in loads) <= 1


def test_best_fit_chooses_the_fullest_row_that_holds_the_item():
    assert best_fit([6, 5, 4, 3], 10) == [[0, 2], [1, 3]]


def test_best_fit_equals_the_slow_definition():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 50, 300).tolist()
    loads: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [load for load in loads if load + length <= 64]
        if fitting:
            loads.remove(max(fitting))
            loads.append(max(fitting) + length)
        else:
            loads.append(length)
    ours = [sum(lengths[i] for i in items) for items in best_fit(lengths, 64)]
    assert sorted(ours) == sorted(loads)


def test_loss_does_not_depend_on_packing_or_padding(tokenizer, tmp_path):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = (
        GPT2Config(vocab_size=263, context_length=40, width=32, layers=2, heads=2).build().double()
    )
    model.compute_dtype = torch.float64
    examples = [pair("Q:", "ab"), pair("R", "x"), pair("a longer prompt", "and its answer")]
    losses = []
    for name, options in {
        "packed": {"context_length": 40}, "padded": {"context_length": 40, "pack": False},
        "short rows": {"context_length": 31, "pack": False},
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.arrow"
        rows = write_rows(examples, tokenizer, path, **options)["rows"]
        batches = PackedRows(path, rows=rows).in_order()
        b = {key: torch.from_numpy(np.array(v)) for key, v in next(iter(batches)).items()}
        hidden = model.hidden(b["inputs"], b["positions"], b["segment_ids"])
        total, count = nll_sum(hidden, model.head_weight.double(), b["targets"], b["loss_mask"])
        assert count == 3 + 2 + 15
        losses.append(float(total.detach() / count))
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert losses[2] == pytest.approx(losses[0], abs=1e-6)


def test_loss_of_a_bigram_model_by_hand(tokenizer, tmp_path):
    """One answer row against -log p(next | current), summed over the targets only."""
    path = tmp_path / "rows.arrow"
    write_rows([pair("Q:", "ab")], tokenizer, path, context_length=9)
    b = PackedRows(path, rows=1).batch(0)
    table = torch.log_softmax(torch.randn(263, 263, generator=torch.Generator().manual_seed(1)), 1)
    hidden = table[torch.from_numpy(np.array(b["inputs"]))]  # its own logits; the head is identity
    total, count = nll_sum(
        hidden, torch.eye(263), torch.from_numpy(np.array(b["targets"])),
        torch.from_numpy(np.array(b["loss_mask"])),
    )  # fmt: skip
    by_hand = -(table[BOS, 97] + table[97, 98] + table[98, EOS])
    assert float(total) == pytest.approx(float(by_hand), rel=1e-5) and count == 3


def test_segments_is_a_pair():
    assert Segments([1], [0]) == ([1], [0])
    assert ByteTokenizer.bos == BOS
