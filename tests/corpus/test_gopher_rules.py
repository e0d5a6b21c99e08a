"""Gopher's and FineWeb's rules: each objects to what it is about, at its bound and not before."""

import numpy as np
import pytest

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Filter
from pipeline.corpus.filters.fineweb import FineWebFilter
from pipeline.corpus.filters.gopher_quality import GopherQualityFilter
from pipeline.corpus.filters.gopher_repetition import GopherRepetitionFilter
from pipeline.corpus.filters.han import HanFilter
from tests.corpus.conftest import CHINESE, made_up

PROSE = (
    "It is to be said that the sum of all parts, " + made_up(3).replace("\n", " ") + " So be it."
)
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"


def reason(member: Filter, text: str) -> str:
    """What the filter says of one text."""
    (code,) = member.judge(member.measure(TextBatch.of([text])))
    return member.reasons[code - 1] if code else ""


def value(member: Filter, name: str, text: str) -> float:
    """One measure of one text."""
    return float(member.measure(TextBatch.of([text]))[name][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, ""),
        ("", "too_few_words"),
        ("the end of it. " * 12, "too_few_words"),
        ("the " * 100_001, "too_many_words"),
        ("a to b " * 30, "words_too_short"),
        ("internationalisation " * 60, "words_too_long"),
        (PROSE + " #" * 40, "too_many_hashes"),
        (PROSE + " ..." * 40, "too_many_ellipses"),
        ("\n".join("- " + line + " and the end" for line in made_up(5).split("\n")), ""),
        ("\n".join(f"- {made_up(k, 12)}" for k in range(12)), "too_many_bullet_lines"),
        ("\n".join(f"{made_up(k, 12)[:-1]}..." for k in range(12)), "too_many_ellipsis_lines"),
        (PROSE + " 123" * 60, "too_few_alpha_tokens"),
        (made_up(6), "too_few_stop_words"),
    ],
    ids=lambda text: text[:12],
)
def test_quality_rules_object_to_what_they_are_about(text: str, expected: str) -> None:
    if expected == "":
        text = text.replace("\n- ", "\n") if text.startswith("- ") else text
        text += " of that"
    assert reason(GopherQualityFilter(), text) == expected


def test_quality_bounds_are_inclusive() -> None:
    text = " ".join(["that"] * 49 + ["the"])
    assert reason(GopherQualityFilter(), text) == ""
    assert reason(GopherQualityFilter(), text.removeprefix("that ")) == "too_few_words"
    assert reason(GopherQualityFilter(min_alpha_tokens=1), text) == ""
    assert reason(GopherQualityFilter(min_mean_word_chars=3.98, max_words=50), text) == ""


def test_stop_words_count_once_and_as_written() -> None:
    member = GopherQualityFilter()
    assert value(member, "stop_words", "the the The THE of") == 2
    assert value(GopherQualityFilter(stop_words=("的", "是")), "stop_words", "这是我的书的。") == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, ""),
        ("", "empty"),
        ("one\n\ntwo\n\none", "duplicate_paragraphs"),
        ("a\n\nb\n\nc\n\n" + (made_up(1) + "\n\n") * 2, "duplicate_paragraph_chars"),
        ("a\nb\na\n\n" + PROSE.replace(" ", "\n", 1), ""),
        ("x\n" * 3 + PROSE[:40], "duplicate_lines"),
        ("\n".join(["one", "two", "three", made_up(2, 12), "four", made_up(2, 12)]),
         "duplicate_line_chars"),
        ("good bye " * 9 + made_up(4, 12), "top_2_gram"),
        (" ".join(f"fine new day {k}{made_up(k, 1)}" for k in range(12)), "top_2_gram"),
        (" ".join([made_up(7, 12), *(made_up(k, 12) for k in range(8, 11)), made_up(7, 12)]),
         "duplicate_6_gram"),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_repetition_rules_object_to_what_they_are_about(text: str, expected: str) -> None:
    assert reason(GopherRepetitionFilter(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This line ends like a sentence does, with a full stop.", ""),
        (" \n\t\n", "empty"),
        ("This line of more than thirty characters ends in no mark", "too_few_terminal_lines"),
        ("Short.\nShort again.\nShort as well.", "too_many_short_lines"),
        ("This line of more than thirty characters ends in a mark.\n" * 2, "duplicate_line_chars"),
        ("\n\n\n\n".join(f"{made_up(k, 2)}-{'x' * 30}." for k in range(5)), "too_many_newlines"),
    ],
)
def test_fineweb_rules_object_to_what_they_are_about(text: str, expected: str) -> None:
    assert reason(FineWebFilter(), text) == expected


def test_terminal_marks_of_every_script_end_a_line() -> None:
    for mark in "。！？؟।።։.":
        assert value(FineWebFilter(), "terminal_lines", f"x{mark}") == 1
    assert value(FineWebFilter(), "terminal_lines", 'He said "no."') == 0  # quotes do not


def test_han_filter_tells_chinese_japanese_and_english_apart() -> None:
    japanese = HanFilter(min_kana=0.05)
    assert [reason(japanese, text) for text in (JAPANESE, CHINESE[0], PROSE)] == [
        "",
        "too_few_kana",
        "too_few_han",
    ]
    assert reason(HanFilter(), CHINESE[0]) == ""
    assert value(HanFilter(), "traditional", "這個國家的語言與歷史") == 1
    assert value(HanFilter(), "traditional", "这个国家的语言与历史") == 0


@pytest.mark.parametrize(
    ("strict", "lenient"),
    [
        (GopherQualityFilter(min_words=1000), GopherQualityFilter(min_words=0)),
        (GopherRepetitionFilter(max_top_grams=(0, 0, 0)), GopherRepetitionFilter()),
        (FineWebFilter(max_short_lines=0), FineWebFilter(min_terminal_lines=0)),
        (HanFilter(min_han=1), HanFilter()),
    ],
)
def test_measures_do_not_depend_on_thresholds(strict: Filter, lenient: Filter) -> None:
    batch = TextBatch.of([PROSE, *CHINESE, "", "a\n\na\n"])
    one, other = strict.measure(batch), lenient.measure(batch)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(strict.judge(one), lenient.judge(one))
