"""Pairs from documentation: answers are right, splits are honest, baselines are real."""

from dataclasses import replace

import pytest

from pipeline.conversations.formats import Limits
from pipeline.conversations.pydocs_pairs import (
    DocObject,
    PydocsPairs,
    cut_at_word,
    flat,
    make_pairs,
)

LIMITS = Limits(8_192, 8_192)


def function(number, module="m", **changes):
    base = DocObject(
        qualified_name=f"{module}.f{number}", doc_id=f"p/{module}", kind="function",
        name=f"f{number}", signature=f"def f{number}(a{number}: int, *rest, key=(1, 2)) -> None",
        parameters=(f"a{number}", "rest", "key"),
        docstring=f"Do the thing number {number}.\n\nMore words on {number}.",
        summary=f"Do the thing number {number}.",
    )  # fmt: skip
    return replace(base, **changes)


def pairs(objects, held=(), in_text=(), **options):
    return make_pairs(
        objects, frozenset(held), lambda wanted: wanted & set(in_text),
        config=PydocsPairs(**{"validation_fraction": 0.0, **options}), limits=LIMITS, seed=0,
    )  # fmt: skip


def of_kind(examples, kind):
    return [example for example in examples if example.kind == kind]


def test_parameters_are_read_off_the_signature():
    (example,) = pairs([function(1)], kinds=("parameters",)).train
    assert example.prompt == "Parameters of\nf1(\na1: int, *rest, key=(1, 2))\n"
    assert example.answer == "a1, rest, key"
    assert example.copy_baseline == "a1: int, *rest, key=(1, 2)"
    assert example.open_book and example.group == "m.f1"


def test_self_is_not_asked_for():
    method = function(1, kind="method", signature="def f1(self, a1)", parameters=("a1",))
    (example,) = pairs([method], kinds=("parameters",)).train
    assert example.prompt == "Parameters of\nf1(\na1)\n" and example.copy_baseline == "a1"


@pytest.mark.parametrize("signature", ["def f1(self)", "class f1", "def f1()"])
def test_without_parameters_there_is_no_question(signature):
    item = function(1, signature=signature, parameters=())
    assert pairs([item, function(2)], kinds=("parameters",)).train[0].id == "parameters/m.f2"


def test_summary_stands_at_the_beginning_of_the_prompt():
    (example,) = pairs([function(1)], kinds=("summary",)).train
    assert example.prompt == "Summary of\nDo the thing number 1. More words on 1.\n"
    assert example.answer == "Do the thing number 1."
    assert example.copy_baseline == "Do the thing number 1. More words on 1."


def test_lookup_asks_each_member_of_a_listing_once():
    made = pairs([function(i) for i in range(4)], kinds=("lookup",)).train
    assert sorted(example.answer for example in made) == ["f0", "f1", "f2", "f3"]
    for example in made:
        listing, question = example.prompt.split("Which one?\n")
        assert f"{question}{example.answer}\n" in listing
        assert listing.split("\n")[1] == example.copy_baseline
    assert sum(example.copy_baseline == example.answer for example in made) == 1


def test_describe_is_closed_book_with_the_commonest_answer_as_baseline():
    objects = [function(i, summary="Return the answer.", docstring="Return the answer.")
               for i in range(3)] + [function(9)]  # fmt: skip
    made = pairs(objects, kinds=("describe",)).train
    assert all(not e.open_book and e.copy_baseline == "Return the answer." for e in made)
    assert made[0].prompt.startswith("What does `m.f")


def test_held_out_is_by_document_and_no_object_straddles_a_split():
    objects = [function(i, module=f"m{i % 10}") for i in range(300)]
    made = pairs(objects, held=["p/m3"], validation_fraction=0.2)
    groups = [{e.group for e in part} for part in (made.train, made.validation, made.held_out)]
    assert all(group.startswith("m3.") for group in groups[2]) and groups[2]
    assert not any(group.startswith("m3.") for group in groups[0] | groups[1])
    assert not groups[0] & groups[1]


def test_held_out_object_known_from_training_objects_is_removed_and_counted():
    same_docstring = function(
        1, module="h", docstring="DO the\nthing  number 1.\n\nMore words on 1."
    )
    same_summary = function(2, module="h", docstring="Do the thing number 2. Else.")
    fresh = function(3, module="h")
    made = pairs([function(1), function(2), same_docstring, same_summary, fresh], held=["p/h"])
    assert {e.group for e in made.held_out} == {"h.f3"}
    assert made.removed["held_out_docstring_in_train_objects"] == 1
    assert made.removed["held_out_summary_in_train_objects"] == 1


def test_held_out_object_quoted_in_the_training_text_is_removed_and_counted():
    made = pairs(
        [function(1), function(5, module="h"), function(6, module="h")],
        held=["p/h"], in_text=["Do the thing number 5."],
    )  # fmt: skip
    assert {e.group for e in made.held_out} == {"h.f6"}
    assert made.removed["held_out_text_in_training_text"] == 1


def test_a_prompt_is_asked_once_and_held_out_keeps_it():
    twin = function(1, module="h", docstring="Other words here.", summary="Other words here.")
    made = pairs([function(1), twin], held=["p/h"], kinds=("parameters",))
    assert [e.group for e in made.held_out] == ["h.f1"] and not made.train
    assert made.removed["repeated_prompt"] == 1


def test_kinds_are_capped_and_the_choice_is_deterministic():
    objects = [function(i, module=f"m{i % 7}") for i in range(200)]
    caps = {"max_per_kind": 20, "max_closed_book": 7, "max_held_out_per_kind": 5}
    one = pairs(objects, held=["p/m1"], **caps)
    for kind in ("parameters", "summary", "lookup", "describe"):
        made = len(of_kind(one.train, kind)) + len(of_kind(one.validation, kind))
        assert made == (7 if kind == "describe" else 20)
        assert len(of_kind(one.held_out, kind)) == 5
    other = pairs(objects[::-1], held=["p/m1"], **caps)
    assert (one.train, one.held_out) == (other.train, other.held_out)


def test_too_long_pairs_are_left_out_and_counted():
    made = make_pairs(
        [function(1)], frozenset(), lambda wanted: set(), config=PydocsPairs(kinds=("summary",)),
        limits=Limits(10, 10), seed=0,
    )  # fmt: skip
    assert not made.train and made.removed["too_long"] == 1


def test_cutting_keeps_whole_words_and_characters():
    assert cut_at_word("one two three", 9) == "one two"
    assert cut_at_word("one two", 7) == "one two"
    assert cut_at_word("één één één", 8) == "één"
    assert flat(" a\n  b ") == "a b"


def test_an_underlined_heading_is_no_summary():
    heading = "demo.module ~~~~~~~~~~~"
    made = pairs([function(1, summary=heading, docstring=heading), function(2)], kinds=("summary",))
    assert [example.group for example in made.train] == ["m.f2"]
