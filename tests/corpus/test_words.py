"""Words are runs of letters, or single characters where a script has no spaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.ngrams import HeldOutGrams, gram_hashes
from pipeline.corpus.words import find_words


def test_words_split_at_punctuation_and_keep_underscores():
    assert find_words(["don't stop_it, 3.14!"]).chars.tolist() == [3, 1, 7, 1, 2]


def test_words_of_chinese_are_characters():
    words = find_words(["我们学习abc，好"])
    assert words.chars.tolist() == [1, 1, 1, 1, 3, 1]
    assert words.is_spaceless.tolist() == [True]


def test_words_of_thai_keep_their_marks():
    assert find_words(["ที่นี่"]).chars.tolist() == [3, 3]


def test_words_ignore_case():
    words = find_words(["Straße ПРИВЕТ", "straße привет"])
    assert words.hashes[:2].tolist() == words.hashes[2:].tolist()


def test_words_never_cross_documents():
    assert find_words(["abc", "def", "", "g"]).counts.tolist() == [1, 1, 0, 1]


def test_words_without_documents_are_empty():
    words = find_words([])
    assert len(words) == 0
    assert gram_hashes(words, 5)[1].tolist() == [0]


@given(st.lists(st.text(max_size=40), max_size=8))
def test_words_of_a_document_do_not_depend_on_its_neighbours(texts):
    together = find_words(texts)
    for i, text in enumerate(texts):
        alone = find_words([text])
        first, last = together.bounds[i], together.bounds[i + 1]
        assert together.hashes[first:last].tolist() == alone.hashes.tolist()
        assert together.letters[i] == sum(c.isalpha() for c in text)


@given(st.lists(st.text("ab 我", max_size=30), min_size=1, max_size=5), st.integers(1, 6))
def test_gram_hashes_are_equal_exactly_where_the_words_are(texts, n):
    words = find_words(texts)
    hashes, bounds = gram_hashes(words, n)
    grams = []
    for first, last in zip(words.bounds[:-1], words.bounds[1:], strict=True):
        own = words.hashes[first:last].tolist()
        grams += [tuple(own[i : i + n]) for i in range(len(own) - n + 1)]
    assert len(grams) == len(hashes) == bounds[-1]
    assert len(set(grams)) == len(np.unique(hashes))


def test_select_keeps_the_chosen_documents():
    words = find_words(["a b c", "d", "e f"]).select(np.array([True, False, True]))
    assert words.counts.tolist() == [3, 2]
    assert words.hashes.tolist() == find_words(["a b c", "e f"]).hashes.tolist()


def sentence(start: int, count: int) -> str:
    return " ".join(f"word{i}" for i in range(start, start + count))


def test_overlap_is_the_share_of_own_13_grams_held_out():
    held_out = HeldOutGrams.of(find_words([sentence(0, 30)]))
    # 40 words: 28 13-grams, of which the first 18 lie within the 30 held-out words.
    overlap = held_out.overlap(find_words([sentence(0, 40), sentence(100, 40), "too short"]))
    assert overlap.share.tolist() == [18 / 28, 0, 0]
    assert overlap.covered.tolist() == [1, 0, 0]


def test_covered_is_the_largest_share_of_one_held_out_document():
    held_out = HeldOutGrams.of(find_words([sentence(0, 30), sentence(500, 22)]))
    text = sentence(0, 15) + " | " + sentence(500, 17) + " " + sentence(1000, 500)
    overlap = held_out.overlap(find_words([text]))
    assert overlap.covered.tolist() == [pytest.approx(max(3 / 18, 5 / 10))]
    assert overlap.share[0] < 0.02
