"""Distinct-n, by hand: different word n-grams over all of them, in every script."""

import pytest

from pipeline.conversations.splits import distinct


@pytest.mark.parametrize(("texts", "n", "share"), [
    ([], 1, 0.0),
    ([""], 1, 0.0),
    (["one"], 2, 0.0),
    (["a b a"], 1, 2 / 3),
    (["A b.", "a B"], 1, 2 / 4),
    (["a b", "a b", "b a"], 2, 2 / 3),  # never a pair across two texts: (b, a) is the third's own
    (["a b", "c d"], 2, 1.0),
    (["a b c", "", "a b c"], 3, 1 / 2),
    (["什么是什么"], 1, 3 / 5),
    (["什么是什么"], 2, 3 / 4),
])  # fmt: skip
def test_distinct_n_by_hand(texts, n, share):
    assert distinct(texts, n) == pytest.approx(share)


def test_chinese_repetition_is_seen_though_there_are_no_spaces():
    """Split at white space every question would be one word of its own."""
    questions = [f"请问第{i}章讲的是什么内容？" for i in range(30)]
    assert distinct(questions, 1) < 0.2 and distinct(questions, 2) < 0.4
