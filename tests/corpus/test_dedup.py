"""Keys, shingles and signatures: what two documents have in common, in numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.dedup.kernels import shared
from pipeline.corpus.dedup.keys import content_key, content_keys, normal_url, url_key
from pipeline.corpus.dedup.minhash import (
    Shingles,
    permutations_64,
    shingles_of,
    signatures_of,
)
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.words import find_words
from tests.corpus.conftest import CHINESE, made_up

CONFIGS = (SignatureConfig(), SignatureConfig(bits=64))


def shingles(texts: list[str], config: SignatureConfig = CONFIGS[0]) -> Shingles:
    return shingles_of(find_words(texts), config)


def own(sets: Shingles, row: int) -> np.ndarray:
    return sets.hashes[sets.bounds[row] : sets.bounds[row + 1]]


def jaccard(sets: Shingles, i: int, j: int) -> float:
    a, b = own(sets, i), own(sets, j)
    both = shared(a, b, 0)
    return both / max(len(a) + len(b) - both, 1)


def changed(text: str, every: int) -> str:
    """The text with every n-th word replaced."""
    words = text.split()
    words[::every] = [f"other{i}" for i in range(len(words[::every]))]
    return " ".join(words)


def test_content_key_ignores_white_space_only() -> None:
    assert content_key("a  b\n\nc ") == content_key("a b c")
    assert content_key("a b c") != content_key("A b c")


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from("ab 中\u00a0\u3000\u2003\u1680\x1c\x85\n\u200bé"))))
def test_content_keys_of_many_equal_those_of_each(texts: list[str]) -> None:
    assert content_keys(texts) == [content_key(text) for text in texts]


@pytest.mark.parametrize(
    "other",
    [
        "http://www.Example.com/a/b/",
        "https://example.com:443/a/b#part",
        "example.com/a/b?utm_source=x&fbclid=y",
        "  https://EXAMPLE.com./a/%62 ",
    ],
)
def test_addresses_of_one_page_are_one(other: str) -> None:
    assert url_key(other) == url_key("https://example.com/a/b")


def test_addresses_of_other_pages_differ() -> None:
    pages = ["https://e.com/a?x=1", "https://e.com/a?x=2", "https://e.com/A", "https://e.com:81/a"]
    assert len({url_key(page) for page in pages}) == 4
    assert url_key("https://e.com/?b=2&a=1") == url_key("https://e.com?a=1&b=2")
    assert url_key(None) is url_key("") is None


def test_an_address_that_cannot_be_parsed_is_taken_as_written() -> None:
    assert normal_url("http://[::1") == "http://[::1"
    assert normal_url("https://bücher.example/ä") == "xn--bcher-kva.example/ä"


@pytest.mark.parametrize("config", CONFIGS)
def test_shingles_are_distinct_and_ascending(config: SignatureConfig) -> None:
    sets = shingles(["a b c d e a b c d e a b c d e", "x"], config)
    assert sets.counts.tolist() == [5, 1]
    assert (own(sets, 0)[1:] > own(sets, 0)[:-1]).all()


def test_shingles_of_a_short_document_are_one_for_all_words() -> None:
    sets = shingles(["alpha beta", "alpha beta", "beta alpha", "...", "alpha"])
    assert sets.counts.tolist() == [1, 1, 1, 0, 1]
    assert own(sets, 0) == own(sets, 1) != own(sets, 2)


def test_scripts_without_spaces_have_shingles_of_their_own_length() -> None:
    config = SignatureConfig(shingle_chars=8)
    text = "".join(CHINESE).replace("，", "").replace("。", "")
    sets = shingles([text, made_up(1)], config)
    assert sets.counts[0] == len(text) - 7
    assert sets.counts[1] == shingles([made_up(1)]).counts[0]


@pytest.mark.parametrize("config", CONFIGS)
def test_signatures_estimate_jaccard(config: SignatureConfig) -> None:
    texts = [made_up(1, 600), changed(made_up(1, 600), 60), made_up(2, 600)]
    sets = shingles(texts, config)
    signatures = signatures_of(sets, config)
    assert jaccard(sets, 0, 1) == pytest.approx((596 - 48) / (596 + 48), abs=0.02)
    assert jaccard(sets, 0, 2) == 0
    for other in (1, 2):
        estimate = (signatures[0] == signatures[other]).mean()
        assert estimate == pytest.approx(jaccard(sets, 0, other), abs=0.15)


@pytest.mark.parametrize("config", CONFIGS)
def test_signatures_depend_on_the_seed_only(config: SignatureConfig) -> None:
    sets = shingles([made_up(1), "", CHINESE[0]], config)
    other = config.model_copy(update={"seed": 2})
    first = signatures_of(sets, config)
    assert np.array_equal(first, signatures_of(sets, config))
    assert not np.array_equal(first, signatures_of(sets, other))
    assert (first[1] == np.iinfo(first.dtype).max).all()


def test_64_bit_signatures_are_smallest_remainders_modulo_the_mersenne_prime() -> None:
    config = SignatureConfig(bits=64, size=8)
    sets = shingles([made_up(1), made_up(2, 30)], config)
    a, b = permutations_64(8, seed=0)
    for row, found in enumerate(signatures_of(sets, config)):
        values = (own(sets, row)[:, None] * a + b) % np.uint64(2**61 - 1)
        assert np.array_equal(found, values.min(axis=0))


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=40), min_size=2, max_size=6))
def test_exact_jaccard_equals_sets(documents: list[list[str]]) -> None:
    sets = shingles([" ".join(words) for words in documents])
    for i in range(len(documents)):
        for j in range(i):
            a, b = set(own(sets, i).tolist()), set(own(sets, j).tolist())
            assert jaccard(sets, i, j) == (len(a & b) / len(a | b) if a | b else 0)
