"""Repeated n-grams by hash tables equal those counted by hand."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.kernels.describe import token_hash
from pipeline.corpus.kernels.grams import AGAIN_ORDERS, TOP_ORDERS, gram_chars, repeated_chars

DOCUMENTS = st.lists(
    st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), max_size=40), min_size=1, max_size=4
)


def arrays(documents: list[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, lengths and bounds as a TokenTable has them."""
    words = [word for document in documents for word in document]
    bounds = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    hashes = np.array([token_hash(word) for word in words], np.uint64)
    return hashes, np.array([len(word) for word in words], np.int32), bounds


def top_by_hand(words: list[str], n: int) -> int:
    """datatrove's rule: of n-grams equally frequent the first; spaces count."""
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not grams:
        return 0
    gram, times = Counter(grams).most_common(1)[0]
    return len(gram) * times


def again_by_hand(words: list[str], n: int) -> int:
    """datatrove's rule: read on behind each repetition; no spaces."""
    seen, covered, at = set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            covered += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return covered


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_gram_chars_equal_counting_by_hand(documents: list[list[str]]) -> None:
    top, again = gram_chars(*arrays(documents))
    for row, words in enumerate(documents):
        assert top[:, row].tolist() == [top_by_hand(words, n) for n in TOP_ORDERS]
        assert again[:, row].tolist() == [again_by_hand(words, n) for n in AGAIN_ORDERS]


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_repeated_chars_count_each_word_once(documents: list[list[str]]) -> None:
    found = repeated_chars(*arrays(documents), orders=(2, 3, 5), num_top=1)
    for row, words in enumerate(documents):
        grams = [tuple(words[i : i + 2]) for i in range(len(words) - 1)]
        counted = Counter(grams)
        repeated = {gram: times for gram, times in counted.items() if times > 1}
        most = max(repeated.values(), default=0)
        longest = max((len("".join(g)) for g, n in repeated.items() if n == most), default=0)
        assert found[0, row] == most * longest
        for k, n in ((1, 3), (2, 5)):
            seen, covered = set(), set()
            for at in range(len(words) - n + 1):
                gram = tuple(words[at : at + n])
                if gram in seen:
                    covered |= set(range(at, at + n))
                seen.add(gram)
            assert found[k, row] == sum(len(words[at]) for at in covered)


def test_order_of_words_matters() -> None:
    top, _ = gram_chars(*arrays([["a", "bb", "ccc", "bb", "a"]]))
    assert top[0].tolist() == [len("a bb")]  # "a bb" is not "bb a": nothing occurs twice


def test_no_words_cover_nothing() -> None:
    top, again = gram_chars(*arrays([[], []]))
    assert not top.any() and not again.any() and top.shape == (3, 2)
