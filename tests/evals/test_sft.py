"""Answers: the loss counts them alone, a copier scores 1, batching changes no answer."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from model.generate import generate
from pipeline.conversations.example import Example, Message
from pipeline.conversations.template import segments
from pipeline.evals import sft
from pipeline.evals.generations import Sampling, continue_prompts
from pipeline.evals.sft import (
    answer_questions,
    choose_questions,
    ended_text,
    most_frequent_answers,
    read_items,
    response_loss,
    summarise_items,
    write_items,
)
from pipeline.evals.statistics import wilson

EXAMPLES = [
    Example("1", "Q:", "ab", kind="k"),
    Example("2", "longer:", "x", kind="k"),
    Example("3", "", "", kind="chat", messages=(Message("user", "u"), Message("assistant", "yes"))),
]


def naive_response_loss(model, tokenizer, examples):
    total, count = 0.0, 0
    for example in examples:
        ids, trainable = segments(example, tokenizer)
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor([ids[:-1]]))[0].double(), dim=-1)
        for t in range(len(ids) - 1):
            if trainable[t + 1]:
                total -= float(logp[t, ids[t + 1]])
                count += 1
    return total / count, count


def test_response_loss_equals_the_naive_computation(model, tokenizer):
    loss = response_loss(model, tokenizer, EXAMPLES, context=16)
    expected, count = naive_response_loss(model, tokenizer, EXAMPLES)
    assert loss["response_tokens"] == count == 3 + 2 + 4
    assert loss["response_loss"] == pytest.approx(expected, rel=1e-5)
    kinds = loss["kinds"]
    assert sum(k["response_loss"] * k["response_tokens"] for k in kinds.values()) == pytest.approx(
        expected * count, rel=1e-5
    )


def test_response_loss_does_not_depend_on_the_prompts_own_tokens(model, tokenizer):
    """Only what the model says about the answer counts: a uniform model costs log V per target."""
    with torch.no_grad():
        model.head_weight.zero_()
    for prompt in ("", "Q", "a long one"):
        loss = response_loss(model, tokenizer, [Example("1", prompt, "ab")], context=16)
        assert loss["response_loss"] == pytest.approx(math.log(263), rel=1e-5)
        assert loss["response_tokens"] == 3


def test_examples_beyond_the_context_are_counted_not_scored(model, tokenizer):
    silent = Example("4", "", "", messages=(Message("user", "u"),))
    loss = response_loss(
        model, tokenizer, [*EXAMPLES, Example("5", "p" * 20, "a"), silent], context=16
    )
    assert loss["examples"] == 3 and loss["excluded"] == {"too_long": 1, "no_target": 1}


def test_no_examples_give_no_loss_instead_of_zero(model, tokenizer):
    assert response_loss(model, tokenizer, [], context=16)["response_loss"] is None


class Copier(nn.Module):
    """A perfect model for 'copy the prompt': position after bos repeats the prompt, then eos."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.head_weight = nn.Parameter(torch.eye(263))

    @staticmethod
    def generate(model, prompts, max_tokens, **_options):
        return [[*prompt[:-1]][:max_tokens] for prompt in prompts]


@pytest.fixture
def copying(monkeypatch, model):
    """Exact generation under our control; scoring and counting are the real ones."""
    monkeypatch.setattr(sft, "generate", Copier.generate)
    return model


def test_a_perfect_copier_gets_exact_match_one(copying, tokenizer):
    questions = [Example(str(i), word, word, kind="copy", open_book=True, copy_baseline="dog")
                 for i, word in enumerate(["cat", "dog", "mouse"])]  # fmt: skip
    items, no_room = answer_questions(copying, tokenizer, questions, {}, context=16, max_tokens=8)
    summary = summarise_items(items)
    row = summary["exact_match"]["copy"]
    assert (row["correct"], row["total"], row["rate"], no_room) == (3, 3, 1.0, 0)
    assert row["baseline"] == pytest.approx(1 / 3)
    assert row["low"] == wilson(3, 3).low < 1 and row["high"] == 1.0
    assert summary["open_book"] == row and summary["closed_book"]["rate"] is None
    assert summary["eos_rate"] == 1.0


def test_an_answer_that_never_ends_is_not_right(copying, tokenizer):
    (item,), _ = answer_questions(
        copying, tokenizer, [Example("1", "abcd", "abcd")], {}, context=16, max_tokens=4
    )
    assert item.answer == "abcd" and not item.ended and not item.correct


def test_order_of_items_is_that_of_the_questions(copying, tokenizer):
    questions = [Example(str(i), "x" * n, "y") for i, n in enumerate([9, 1, 5, 3])]
    items, _ = answer_questions(
        copying, tokenizer, questions, {}, context=16, max_tokens=12, rows=2
    )
    assert [item.id for item in items] == ["0", "1", "2", "3"]


def test_answers_do_not_depend_on_how_many_are_asked_together(model, tokenizer):
    questions = [Example(str(i), "ab" * n, "y") for i, n in enumerate([1, 2, 3, 4, 1, 5])]
    one, _ = answer_questions(model, tokenizer, questions, {}, context=16, max_tokens=4, rows=1)
    many, _ = answer_questions(model, tokenizer, questions, {}, context=16, max_tokens=4, rows=64)
    assert one == many


def test_a_prompt_without_room_is_counted(model, tokenizer):
    questions = [Example("1", "p" * 30, "a"), Example("2", "p", "a")]
    items, no_room = answer_questions(model, tokenizer, questions, {}, context=16, max_tokens=4)
    assert [item.id for item in items] == ["2"] and no_room == 1


def test_baseline_defaults_to_the_commonest_training_answer(copying, tokenizer):
    train = [Example("a", "1", "yes"), Example("b", "2", "no"), Example("c", "3", "yes")]
    baselines = most_frequent_answers(train)
    assert baselines == {"pair": "yes"}
    (item,), _ = answer_questions(
        copying, tokenizer, [Example("q", "q", "yes")], baselines, context=16, max_tokens=4
    )
    assert item.baseline == "yes" and item.baseline_correct and not item.correct


def test_questions_are_the_first_of_each_kind():
    examples = [Example(str(i), "p", "a", kind="xy"[i % 2]) for i in range(10)]
    assert [e.id for e in choose_questions(examples, 2)] == ["0", "1", "2", "3"]


def test_ended_text_stops_at_the_first_stop_token(tokenizer):
    assert ended_text([97, 257, 98], (257,), 9, tokenizer) == ("a", True)
    assert ended_text([97, 98], (257,), 2, tokenizer) == ("ab", False)
    assert ended_text([97], (257,), 2, tokenizer) == ("a", True)
    assert ended_text([97, 300], (257,), 2, tokenizer) == ("a", False)  # an id without a text


def test_items_survive_their_file(copying, tokenizer, tmp_path):
    items, _ = answer_questions(
        copying, tokenizer, [Example("1", "ü\n", "ü")], {}, context=16, max_tokens=8
    )
    write_items(tmp_path / "items.jsonl", items)
    assert read_items(tmp_path / "items.jsonl") == items


def test_continuations_are_reproducible_and_greedy_is_the_argmax(model, tokenizer):
    sampling = Sampling(max_tokens=5, temperature=1.0, top_k=20, top_p=0.9, seed=1)
    rows = continue_prompts(model, tokenizer, ["ab", "a" * 40], sampling, context=16)
    assert rows == continue_prompts(model, tokenizer, ["ab", "a" * 40], sampling, context=16)
    assert rows[0]["cut_tokens"] == 0 and rows[1]["cut_tokens"] == 30
    ids = [256, 97, 98]
    with torch.no_grad():
        first = int(model(torch.tensor([ids]))[0, -1].argmax())
    assert generate(model, [ids], max_tokens=1)[0] == [first]


@pytest.mark.parametrize(("correct", "total", "low", "high"), [
    (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0),
])  # fmt: skip
def test_wilson_interval_is_the_textbook_one(correct, total, low, high):
    interval = wilson(correct, total)
    np.testing.assert_allclose([interval.low, interval.high], [low, high], atol=1e-4)


def test_a_base_model_is_asked_as_a_document_and_answers_one_line(monkeypatch, model, tokenizer):
    def base_model(model, prompts, max_tokens, **_options):
        assert all(
            prompt[0] == tokenizer.bos and tokenizer.bos not in prompt[1:] for prompt in prompts
        )
        return [list(b"\nyes\nand then some"[:max_tokens]) for _ in prompts]

    monkeypatch.setattr(sft, "generate", base_model)
    (item,), _ = answer_questions(
        model, tokenizer, [Example("1", "q\n", "yes")], {}, context=16, max_tokens=10,
        form="continuation",
    )  # fmt: skip
    assert item.answer == "yes" and item.ended and item.correct
