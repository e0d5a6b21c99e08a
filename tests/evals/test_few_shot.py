"""Solved examples before the question, and the overlap of short answers."""

import pytest

from pipeline.conversations.example import Example, Message
from pipeline.evals.few_shot import asked_ids, choose_shots, few_shot_prompt, token_f1
from pipeline.tokens.tokenizer import with_our_specials

BYTES = with_our_specials("bytes", r"(?s:.)", {bytes([i]): i for i in range(256)})
SOLVED = Example(id="s", prompt="1+1=", answer="2")
QUESTION = Example(id="q", prompt="2+2=", answer="4")


def test_shots_stand_before_the_question_in_the_form_of_training():
    text = BYTES.decode(asked_ids(QUESTION, BYTES, "answer", [SOLVED]))
    assert text == "1+1=<|bos|>2<|eos|>2+2=<|bos|>"


def test_a_base_model_reads_them_as_a_document():
    text = BYTES.decode(asked_ids(QUESTION, BYTES, "continuation", [SOLVED]))
    assert text == "<|bos|>1+1=\n2\n\n2+2="


def test_without_shots_the_question_is_asked_as_ever():
    assert BYTES.decode(asked_ids(QUESTION, BYTES, "answer")) == "2+2=<|bos|>"


def test_a_conversation_is_asked_without_shots():
    turns = (Message("user", "hi"), Message("assistant", "yes"))
    chat = Example(id="c", prompt="", answer="", messages=turns)
    assert asked_ids(chat, BYTES, "answer", [SOLVED]) == asked_ids(chat, BYTES, "answer")


def test_a_base_model_reads_a_conversation_without_tokens_it_never_saw():
    turns = (Message("user", "hi"), Message("assistant", "yes"))
    chat = Example(id="c", prompt="", answer="", messages=turns)
    text = BYTES.decode(asked_ids(chat, BYTES, "continuation", [SOLVED]))
    assert text == "<|bos|>user: hi\nassistant:"


def test_shots_are_the_same_whatever_the_order_and_fit_the_room():
    train = [Example(id=str(i), prompt=f"q{i}", answer="a" * i, kind="k") for i in range(30)]
    one = choose_shots(train, 3, BYTES, max_tokens=12, seed=1)
    other = choose_shots(train[::-1], 3, BYTES, max_tokens=12, seed=1)
    assert one == other and len(one["k"]) == 3
    assert all(len(shot.answer) <= 12 for shot in one["k"])
    assert choose_shots(train, 3, BYTES, max_tokens=12, seed=2) != one


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("the cat", "The cat.", 1.0),
        ("a b c d", "a b", 2 * 0.5 * 1 / 1.5),
        ("x", "y", 0.0),
        ("", "", 1.0),
        ("", "word", 0.0),
        ("天气很好", "天气不好", 0.75),
        ("a a a", "a", 2 * (1 / 3) * 1 / (4 / 3)),
    ],
)
def test_token_f1_by_hand(answer, expected, f1):
    assert token_f1(answer, expected) == pytest.approx(f1)


def test_prompts_with_zero_one_and_few_examples_have_the_published_form() -> None:
    task = "Translate English to French:"
    pairs = [("sea otter", "loutre de mer"), ("mint", "menthe")]
    assert few_shot_prompt("cheese", task=task) == "Translate English to French:\ncheese =>"
    assert few_shot_prompt("cheese", pairs[:1], task=task) == (
        "Translate English to French:\nsea otter => loutre de mer\ncheese =>"
    )
    assert few_shot_prompt("cheese", pairs) == (
        "sea otter => loutre de mer\nmint => menthe\ncheese =>"
    )
    with pytest.raises(ValueError, match="line break"):
        few_shot_prompt("two\nlines")
