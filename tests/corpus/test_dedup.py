"""Duplicates are found by MinHash, proved by Jaccard, and the most preferred document stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.dedup import jaccard
from pipeline.corpus.dedup.keys import content_key
from pipeline.corpus.dedup.lsh import ALL_PAIRS_UP_TO, candidate_pairs
from pipeline.corpus.dedup.minhash import Shingles, shingles_of, signatures_of
from pipeline.corpus.words import find_words
from tests.corpus.conftest import CHINESE, made_up


def shingles(texts: list[str]) -> Shingles:
    return shingles_of(find_words(texts), shingle_words=5)


def own(sets: Shingles, row: int) -> np.ndarray:
    return sets.hashes[sets.bounds[row] : sets.bounds[row + 1]]


def changed(text: str, every: int) -> str:
    """The text with every n-th word replaced."""
    words = text.split()
    words[::every] = [f"other{i}" for i in range(len(words[::every]))]
    return " ".join(words)


def test_content_key_ignores_white_space_only():
    assert content_key("a  b\n\nc ") == content_key("a b c")
    assert content_key("a b c") != content_key("A b c")


def test_shingles_are_distinct_and_ascending():
    sets = shingles(["a b c d e a b c d e a b c d e", "x"])
    assert sets.counts.tolist() == [5, 1]
    assert (np.diff(own(sets, 0).astype(np.int64)) > 0).all()


def test_shingles_of_a_short_document_are_one_for_all_words():
    sets = shingles(["alpha beta", "alpha beta", "beta alpha", "...", "alpha"])
    assert sets.counts.tolist() == [1, 1, 1, 0, 1]
    assert own(sets, 0) == own(sets, 1) != own(sets, 2)


def test_signatures_estimate_jaccard():
    texts = [made_up(1, 600), changed(made_up(1, 600), 60), made_up(2, 600)]
    sets = shingles(texts)
    signatures = signatures_of(sets, size=112, seed=0)
    pairs = np.array([[0, 1], [0, 2]])
    true = jaccard.exact(pairs, sets.counts, lambda row: own(sets, row))
    assert true[0] == pytest.approx((596 - 48) / (596 + 48), abs=0.02)
    assert true[1] == 0
    assert jaccard.estimated(signatures, pairs) == pytest.approx(true, abs=0.15)


def test_signatures_depend_on_the_seed_only():
    sets = shingles([made_up(1), "", CHINESE[0]])
    first = signatures_of(sets, size=16, seed=1)
    assert np.array_equal(first, signatures_of(sets, size=16, seed=1))
    assert not np.array_equal(first, signatures_of(sets, size=16, seed=2))
    assert (first[1] == 2**32 - 1).all()


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=40), min_size=2, max_size=6))
def test_exact_jaccard_equals_sets(documents):
    sets = shingles([" ".join(words) for words in documents])
    pairs = np.array([[i, j] for i in range(len(documents)) for j in range(i)])
    found = jaccard.exact(pairs, sets.counts, lambda row: own(sets, row))
    for (i, j), value in zip(pairs, found, strict=True):
        a, b = set(own(sets, i).tolist()), set(own(sets, j).tolist())
        assert value == (len(a & b) / len(a | b) if a | b else 0)


def test_candidates_hold_equal_documents_and_no_strangers():
    texts = [made_up(1), made_up(2), made_up(1), "..."]
    sets = shingles(texts)
    signatures = signatures_of(sets, size=112, seed=0)
    found = candidate_pairs(signatures, sets.counts > 0, bands=14)
    assert found.pairs.tolist() == [[0, 2]]


def test_candidates_of_a_crowd_stay_linear_and_reach_everyone():
    signatures = np.zeros((1000, 8), np.uint32)
    found = candidate_pairs(signatures, np.ones(1000, np.bool_), bands=1)
    assert found.crowded_buckets == 1
    assert len(found.pairs) < 1000 * ALL_PAIRS_UP_TO
    assert set(found.pairs[:, 1].tolist()) == set(range(1, 1000))
