"""Rows: nothing lost, nothing cut silently, nothing seen across segments, every drop counted."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architectures import GPT2Config
from model.loss import nll_sum
from pipeline.conversations.example import Example, Message, write_examples
from pipeline.conversations.packing import _Fitting, _truncate_left, best_fit, write_rows
from pipeline.conversations.template import Segments, segments
from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.batches import PackedRows
from pipeline.training.data import to_batch
from tests.conversations.byte_tokenizer import ByteTokenizer

BOS, EOS, END = 256, 257, 261


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


def chat(*turns):
    return Example("c", "", "", messages=tuple(Message(*turn) for turn in turns))


def test_a_long_question_of_a_conversation_loses_its_beginning_never_its_role(tokenizer, tmp_path):
    example = chat(("system", "s"), ("user", "long question"), ("assistant", "ab"))
    path = tmp_path / "rows.arrow"
    facts = write_rows([example], tokenizer, path, context_length=13, policy="truncate_prompt_left")
    [row] = rows_of(path)
    assert row["ids"] == [BOS, 262, 115, 261, 259, *b"tion", 261, 260, 97, 98, 261]
    assert row["trainable"] == [0] * 11 + [1, 1, 1]
    assert facts["truncated"] == 1


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=6), st.text("cd", max_size=6)),
             min_size=1, max_size=4),
    st.booleans(), st.integers(3, 40), st.sampled_from(["all", "last"]),
)  # fmt: skip
def test_a_cut_conversation_keeps_its_last_answer_and_every_mark(
    exchanges, has_system, length, train_on
):
    tokenizer = ByteTokenizer()
    turns = [("system", "s")] if has_system else []
    for question, answer in exchanges:
        turns += [("user", question), ("assistant", answer)]
    example = chat(*turns)
    fitting = _Fitting(length, "truncate_prompt_left", train_on)
    fit = _truncate_left(example, tokenizer, fitting)
    whole = segments(example, tokenizer, train_on=train_on)
    last = [*exchanges[-1][1].encode(), END]
    if len(whole.ids) <= length:
        return  # never asked for
    smallest = 1 + 3 * has_system + 2 + 1 + len(last)  # bos, system, user, end, assistant, answer
    if fit.item is None:
        assert (fit.reason, length < smallest) == ("answer_too_long", True)
        return
    ids, trainable = fit.item
    assert len(ids) == len(trainable) <= length and fit.truncated
    assert ids[: 1 + 3 * has_system] == whole.ids[: 1 + 3 * has_system]
    assert ids[1 + 3 * has_system] == 259 and ids[-len(last) :] == last
    assert trainable[-len(last) - 1 :] == [0] + [1] * len(last)
    marked = [token for token, mark in zip(ids, trainable, strict=True) if mark]
    before = [token for token, mark in zip(*whole, strict=True) if mark]
    assert before[len(before) - len(marked) :] == marked  # whole answers, from the last back


def test_the_first_rows_are_like_the_rest(tokenizer, tmp_path):
    """Validation looks at the first rows only; best-fit decreasing puts the longest there."""
    path = tmp_path / "rows.arrow"
    examples = [pair("p" * (1 + 7 * i % 23), "a") for i in range(200)]
    write_rows(examples, tokenizer, path, context_length=25)
    rows = rows_of(path)
    longest = [max(np.bincount(row["segment"])[1:]) for row in rows]
    assert abs(np.mean(longest[: len(rows) // 4]) - np.mean(longest)) < 3


def losses_and_gradients(path, rows, micro_rows):
    """Mean nats and gradients of all rows at once, in float64, by the definition."""
    model = GPT2Config(vocab_size=263, context_length=64, width=16, layers=2, heads=2).build(seed=1)
    model.double()
    model.compute_dtype = torch.float64
    total, count = 0.0, 0.0
    for arrays in PackedRows(path, rows=micro_rows).in_order():
        batch = to_batch(arrays)
        logits = model(batch.inputs, batch.positions, batch.segment_ids)
        nll = -logits.log_softmax(-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
        nats = (nll * batch.loss_mask).sum()
        nats.backward()
        total += float(nats.detach())
        count += float(batch.loss_mask.sum())
    return total / count, [p.grad / count for p in model.parameters() if p.grad is not None]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.text("pq", max_size=9), st.text("rs", max_size=9)), min_size=2,
                max_size=6), st.integers(24, 50), st.integers(1, 4))  # fmt: skip
def test_no_packing_padding_or_split_changes_loss_or_gradient(tmp_path_factory, texts, T, micro):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("exact")
    examples = [pair(*text) for text in texts]
    found = []
    ways = ({"context_length": T}, {"context_length": 21, "pack": False}, {"context_length": 64})
    for number, options in enumerate(ways):
        path = folder / f"{number}.arrow"
        rows = write_rows(examples, ByteTokenizer(), path, **options)["rows"]
        found.append(losses_and_gradients(path, rows, 1 if number == 1 else micro))
    (loss, gradients), *others = found
    for other_loss, other_gradients in others:
        assert abs(loss - other_loss) < 1e-10
        for one, other in zip(gradients, other_gradients, strict=True):
            assert float((one - other).abs().max()) < 1e-10


def test_loss_of_a_closed_form_model_by_hand(tokenizer, tmp_path):
    """logit(j | i) = -|i - j|: log Z(i) is two geometric series, so every loss is a formula."""
    path = tmp_path / "rows.arrow"
    rows = write_rows([pair("Q:", "ab"), pair("R", "x")], tokenizer, path, context_length=12)
    assert rows["rows"] == 1
    batch = to_batch(PackedRows(path, rows=1).batch(0))
    ids = torch.arange(263, dtype=torch.float64)
    logits = -(batch.inputs.double().unsqueeze(-1) - ids).abs()  # (B, T, V)
    nll = torch.logsumexp(logits, -1) - logits.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    found = float((nll * batch.loss_mask).sum() / batch.loss_mask.sum())

    def nats(given: int, target: int) -> float:
        r = math.exp(-1)
        below, above = given, 262 - given
        z = 1 + r * (1 - r**below) / (1 - r) + r * (1 - r**above) / (1 - r)
        return math.log(z) + abs(given - target)

    pairs = [(BOS, 97), (97, 98), (98, EOS), (BOS, 120), (120, EOS)]
    assert found == pytest.approx(sum(nats(*pair) for pair in pairs) / 5, abs=1e-12)
