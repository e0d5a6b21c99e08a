"""Held-out text does not reach the model through fine-tuning pairs."""

from pipeline.conversations.decontamination import REASON, without_held_out_text
from pipeline.conversations.example import Example
from pipeline.conversations.splits import Pairs

SECRET = "the old mill grinds eleven sacks of barley before the bell rings at noon every day"
PLAIN = "a quiet sentence about nothing in particular that was never held out by anyone at all here"


def pair(name: str, prompt: str, answer: str = "yes") -> Example:
    return Example(id=name, group=name, kind="qa", open_book=True, prompt=prompt, answer=answer)


def test_pair_that_repeats_a_held_out_passage_is_dropped_and_counted():
    pairs = Pairs(
        train=[pair("a", SECRET), pair("b", PLAIN), pair("c", "short", answer=SECRET)],
        validation=[pair("d", SECRET)],
        held_out=[pair("e", SECRET)],
    )
    kept = without_held_out_text(pairs, [SECRET + " and more"])
    assert [e.id for e in kept.train] == ["b"]
    assert kept.validation == []
    assert [e.id for e in kept.held_out] == ["e"]
    assert kept.removed[REASON] == 3


def test_chinese_passage_is_found_without_spaces():
    held_out = "老磨坊每天中午钟声响起之前要磨完十一袋大麦然后才休息"
    kept = without_held_out_text(
        Pairs(train=[pair("a", held_out[:20]), pair("b", "磨坊")]), [held_out]
    )
    assert [e.id for e in kept.train] == ["b"]


def test_no_pairs_and_no_held_out_text_are_fine():
    assert without_held_out_text(Pairs(), [SECRET]).train == []
    assert len(without_held_out_text(Pairs(train=[pair("a", SECRET)]), []).train) == 1
