"""Harmful words are found whole in every script; the shipped lists spare texts about people."""

import time

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.corpus.bias import shipped_groups
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.judging import judge_all
from pipeline.corpus.filters.word_list import HarmfulWords, shipped_lists
from pipeline.corpus.rewrites.harmful_lines import HarmfulLines
from pipeline.corpus.rewrites.spans import Text
from pipeline.corpus.wordlists.matcher import MAX_TERM_BYTES, TermMatcher
from pipeline.store.errors import DataError
from tests.corpus.conftest import CHINESE, made_up


def counts(terms: list[str], *texts: str, whole: bool = True) -> list[int]:
    matcher = TermMatcher([terms], whole_words=whole)
    return matcher.find(Text.of(TextBatch.of(texts))).counts[:, 0].tolist()


def reasons(step: HarmfulWords, *texts: str) -> list[str]:
    batch = TextBatch.of(texts)
    columns = {f"harmful_words.{name}": v for name, v in step.measure(batch).items()}
    return judge_all([step], columns, [None] * len(texts)).reasons


def lines(*texts: str, **settings: object) -> list[str]:
    return HarmfulLines(lists=(), **settings).apply(TextBatch.of(texts)).batch.texts


@pytest.mark.parametrize(
    ("term", "text", "expected"),
    [
        ("ass", "class Ass, ASS; assess bass", 2),
        ("free spins", "Free\n\n  SPINS! free-spins freespins", 1),
        ("赌博网站", "这是某赌博网站的广告", 1),
        ("av在线", "看AV在线吧", 1),
        ("сука", "Сука! сукара", 1),
        ("straße", "STRAßE Straßen", 1),
        ("c++", "C++ and c++11 and xc++", 2),
        ("porn", "看porn吧 porn_star", 1),
        ("ภาพโป๊", "ดูภาพโป๊ฟรี", 1),
        ("bad", "bad", 1),
        ("bad", "", 0),
    ],
)
def test_term_matches_whole_words_and_anywhere_without_spaces(term, text, expected):
    assert counts([term], text) == [expected]


def test_the_longest_of_overlapping_terms_counts_once_and_the_search_goes_on_behind_it():
    assert counts(["色情", "色情网站", "网站"], "色情网站色情") == [3]
    assert counts(["a b", "b c"], "a b c") == [1]


def test_parts_of_words_match_where_asked_for():
    assert counts(["porn"], "freepornsite", whole=False) == [1]
    assert counts(["porn"], "freepornsite") == [0]


def test_documents_do_not_share_a_match():
    assert counts(["赌博网站", "free spins"], "赌博", "网站", "free ", "spins") == [0, 0, 0, 0]
    assert counts(["ass"], "cl", "ass", "ess") == [0, 1, 0]


def test_terms_that_cannot_match_are_an_error():
    for term in ("", "  ", "x" * (MAX_TERM_BYTES + 1), "\ud800"):
        with pytest.raises(DataError, match="the term"):
            TermMatcher([[term]])
        for step in (HarmfulWords, HarmfulLines):
            with pytest.raises(ValidationError, match="the term"):
                step(terms=("fine", term))


def test_matching_takes_linear_time():
    matcher = TermMatcher([["a " * 100 + "b", "操" * 50, "a" * 200]])
    matcher.find(Text.of(TextBatch.of(["warm up"])))
    start = time.process_time()
    for text in ("a " * 500_000, "操" * 300_000, "a" * 1_000_000, " " * 1_000_000):
        matcher.find(Text.of(TextBatch.of([text])))
    assert time.process_time() - start < 10


def test_document_with_too_many_or_too_dense_matches_is_dropped():
    step = HarmfulWords(lists=(), terms=("bad",), max_matches=3, max_share=0.2, min_matches=2)
    assert reasons(step, "bad " * 4 + "x" * 999, "bad bad x", "bad", "bad bad " + "x" * 99) == [
        "harmful_words.too_many", "harmful_words.too_dense", "", "",
    ]  # fmt: skip


def test_measures_do_not_depend_on_thresholds():
    one = HarmfulWords(lists=(), terms=("bad",), max_matches=0)
    other = HarmfulWords(lists=(), terms=("bad",), max_share=None)
    batch = TextBatch.of(["bad bad good", "", "all good"])
    for name, values in one.measure(batch).items():
        assert np.array_equal(values, other.measure(batch)[name])
    assert one.measure(batch)["matches"].tolist() == [2, 0, 0]
    assert one.measure(batch)["share"].tolist() == [0.5, 0.0, 0.0]


def test_shipped_lists_drop_spam_and_keep_sense():
    spam = "Free porn videos! XXX videos, live sex cams, call girls."
    gamble = "时时彩平台 注册送彩金 真人荷官 百家乐开户 澳门新葡京欢迎您"
    assert reasons(HarmfulWords(), spam, gamble) == ["harmful_words.too_dense"] * 2
    sense = [
        "Gay and lesbian couples may marry; Muslim women spoke about discrimination and sex.",
        "The casino opened in 1863. Breast cancer and sexual health are discussed openly.",
        "女性和同性恋者的权利；乳腺癌的治疗；性教育课程；彩票的历史与博彩业的监管。",
        "无码处理与条形码、编码无关；黄色的花开在网站首页。",
        made_up(3),
        *CHINESE,
    ]
    assert reasons(HarmfulWords(max_matches=0), *sense) == [""] * len(sense)


def test_shipped_lists_name_no_group_of_people():
    groups = {term.lower() for group in shipped_groups().groups() for term in group.terms}
    listed = {term.lower() for file in shipped_lists() for term in file.entries()}
    assert listed & groups == set()
    assert min(len(file.entries()) for file in shipped_lists()) > 80


def test_lines_with_harmful_words_go_and_the_rest_stays():
    text = "good\nbad one\nbad two\nbadly good\n\nend bad"
    assert lines(text, terms=("bad",)) == ["good\nbadly good\n"]
    assert lines("bad", "x", "bad\nx", "x\nbad\n", terms=("bad",)) == ["", "x", "x", "x\n"]
    assert lines("bad\nbad bad\nx", terms=("bad",), max_matches=1) == ["bad\nx"]


def test_dropped_lines_are_counted():
    batch = TextBatch.of(["a\nbad\nbad\n汉", "", "x"])
    done = HarmfulLines(lists=(), terms=("bad",)).apply(batch)
    assert done.counts == {"documents": 1, "lines": 2}
    assert done.measures["lines"].tolist() == [2, 0, 0]
    assert done.measures["bytes"].tolist() == [8, 0, 0]
    assert HarmfulLines().apply(batch).batch is batch


def test_steps_without_words_are_wrong_settings():
    for step in (HarmfulWords, HarmfulLines):
        with pytest.raises(ValidationError, match="neither lists nor terms"):
            step(lists=())
        with pytest.raises(ValidationError, match="no list shipped:nothing"):
            step(lists=("shipped:nothing",))


def test_own_lists_replace_the_shipped_ones(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# mine\r\nverboten\r\n", encoding="utf-8")
    step = HarmfulWords(lists=(str(path),), max_matches=0)
    assert reasons(step, "Verboten!", "free porn") == ["harmful_words.too_many", ""]
