"""Filters measure text once and judge measures; every alphabet gets its due."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.corpus.chain import pass_through
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter
from pipeline.corpus.steps import AnyPlainStep
from tests.corpus.conftest import CHINESE, made_up

ALL = (LengthFilter(), AlphabetFilter(), RepetitionFilter())


def reasons(texts: list[str], filters=ALL) -> list[str]:
    batch = TextBatch.of(texts)
    return pass_through(filters, batch).verdicts.reasons


def measures(text: str, member) -> dict[str, float]:
    return {name: float(value[0]) for name, value in member.measure(TextBatch.of([text])).items()}


def test_filters_keep_made_up_english():
    assert reasons([made_up(1)]) == [""]


def test_filters_keep_real_chinese_sentences():
    assert reasons(list(CHINESE)) == [""] * len(CHINESE)


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        ("□■◆◇" * 40, "length.too_few_words"),
        ("好的" * 60, "repetition.top_2_gram"),
        ("12345 67890 " * 30 + "汉字" * 3, "alphabet.too_few_letters"),
        ("点击这里下载最新版本软件，" * 12, "repetition.top_3_gram"),
        ("".join(CHINESE) * 3, "repetition.duplicate_run"),
        ("锟斤拷\ufffd\ufffd烫烫烫" * 3 + CHINESE[1], "alphabet.undecodable"),
    ],
)
def test_filters_drop_chinese_noise(noise, reason):
    assert reasons([noise]) == [reason]


def test_length_bounds_are_inclusive():
    member = LengthFilter(min_words=3, max_words=4, min_chars=0)
    texts = ["a b", "a b c", "a b c d", "a b c d e"]
    codes = member.judge(member.measure(TextBatch.of(texts)))
    assert codes.tolist() == [2, 0, 0, 4]


def test_length_counts_visible_characters():
    assert measures(" a \n\u3000 bc ", LengthFilter()) == {"chars": 3, "words": 2}


def test_alphabet_bound_is_inclusive():
    half, less = "abcd1234", "abc12345"
    member = AlphabetFilter(min_letters=0.5)
    assert member.judge(member.measure(TextBatch.of([half, less]))).tolist() == [0, 2]


def test_repetition_counts_lines_seen_before():
    found = measures("one\ntwo\n\none\n  one \nthree", RepetitionFilter())
    assert found["duplicate_lines"] == pytest.approx(2 / 5)
    assert found["duplicate_line_chars"] == pytest.approx(6 / 17)


def test_repetition_does_not_count_blank_lines():
    assert measures("one\n\n\n\ntwo\n\n\n", RepetitionFilter())["duplicate_lines"] == 0


def test_repetition_counts_paragraphs_between_blank_lines():
    found = measures("a b\nc\n\nd\n\na b\nc", RepetitionFilter())
    assert found["duplicate_paragraphs"] == pytest.approx(1 / 3)


def brute_force(words: list[str], n: int) -> tuple[float, float]:
    """(share in the most frequent n-gram, share in n-grams seen before), straight from words."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    total = max(sum(map(len, words)), 1)
    ranked = [(grams.count(g), len("".join(g))) for g in set(grams) if grams.count(g) > 1]
    count, size = max(ranked, default=(0, 0))
    covered: set[int] = set()
    for i, gram in enumerate(grams):
        if gram in grams[:i]:
            covered |= set(range(i, i + n))
    return min(count * size / total, 1.0), sum(len(words[i]) for i in covered) / total


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=30), max_size=4))
def test_repetition_equals_counting_by_hand(documents):
    batch = TextBatch.of([" ".join(words) for words in documents])
    found = RepetitionFilter().measure(batch)
    for i, words in enumerate(documents):
        for n in (2, 3, 4):
            assert found[f"top_{n}_gram"][i] == pytest.approx(brute_force(words, n)[0])
        for n in (5, 7, 10):
            assert found[f"duplicate_{n}_gram"][i] == pytest.approx(brute_force(words, n)[1])


def test_repetition_of_other_documents_does_not_count():
    text = made_up(3)
    alone = RepetitionFilter().measure(TextBatch.of([text]))
    pair = RepetitionFilter().measure(TextBatch.of([text, text]))
    assert all(pair[name][1] == alone[name][0] for name in alone)


@given(st.lists(st.text("ab我，\n1 ", max_size=80), min_size=1, max_size=6))
def test_measures_do_not_depend_on_thresholds_or_neighbours(texts):
    strict = RepetitionFilter(max_duplicate_lines=0, max_top_grams=(0, 0, 0))
    together = strict.measure(TextBatch.of(texts))
    for i, text in enumerate(texts):
        alone = RepetitionFilter().measure(TextBatch.of([text]))
        assert all(together[name][i] == alone[name][0] for name in alone)


def test_verdicts_name_every_objection():
    text = "no no no no"
    batch = TextBatch.of([text])
    verdicts = pass_through(ALL, batch).verdicts
    assert verdicts.objections[0][0] == "length.too_few_chars"
    assert verdicts.objections[0][1].startswith("repetition.")


def test_judging_a_boundary_measure_keeps_it():
    member = RepetitionFilter(max_duplicate_lines=0.4)
    text = "one\ntwo\n\none\n  one \nthree"
    values = {name: np.array([0.0]) for name in member.reasons} | {"spaceless": np.array([False])}
    exact = member.measure(TextBatch.of([text]))["duplicate_lines"]
    assert member.judge(values | {"duplicate_lines": exact}).tolist() == [0]
    assert member.judge(values | {"duplicate_lines": exact + 1e-9}).tolist() == [1]


def test_union_names_the_unknown_kind():
    with pytest.raises(ValidationError, match="lenght"):
        TypeAdapter(AnyPlainStep).validate_python({"kind": "lenght"})


def test_filter_refuses_a_misspelt_key():
    with pytest.raises(ValidationError, match="min_word"):
        TypeAdapter(AnyPlainStep).validate_python({"kind": "length", "min_word": 3})
