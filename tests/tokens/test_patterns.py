"""The form of a pattern that is found fastest splits every text as the written one does."""

import random
from typing import cast

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.patterns import PATTERNS, PatternName, for_search
from pipeline.tokens.tokenizer import PIECE_CHARACTERS
from tests.tokens.test_tokenizer import TEXT

Both = tuple[tiktoken.Encoding, tiktoken.Encoding]


@pytest.fixture(scope="module", params=sorted(PATTERNS))
def both(request: pytest.FixtureRequest) -> Both:
    """The written form and the searched one, over all pairs of bytes in an order of chance.

    Two bytes that a split keeps apart are one token without it, or their neighbours are.
    """
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    random.Random(0).shuffle(pairs)
    tokens = [bytes([i]) for i in range(256)] + pairs
    ranks = {token: rank for rank, token in enumerate(tokens)}
    pattern = PATTERNS[cast(PatternName, request.param)]

    def encoding(searched: str) -> tiktoken.Encoding:
        return tiktoken.Encoding(
            "pairs", pat_str=searched, mergeable_ranks=ranks, special_tokens={}
        )

    return encoding(pattern), encoding(for_search(pattern))


def ids(encoding: tiktoken.Encoding, text: str) -> list[int] | None:
    """None where the splitter gives up, which is the tokenizer's business."""
    try:
        found: list[int] = encoding.encode_to_numpy(text, disallowed_special=()).tolist()
    except ValueError:
        return None
    return found


def test_the_vocabulary_of_pairs_shows_where_text_is_split(both: Both) -> None:
    whole = tiktoken.Encoding(
        "pairs", pat_str=r"(?s).+", mergeable_ranks=both[0]._mergeable_ranks, special_tokens={}
    )
    text = " ".join(f"w{i}" for i in range(200))
    assert ids(whole, text) != ids(both[0], text)


def test_nasty_strings_are_split_alike(both: Both) -> None:
    written, searched = both
    for text in nasty_strings():
        assert ids(written, text.decode()) == ids(searched, text.decode())


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
@example(text="I'LL don'ſ 'Sx")
@example(text="a  \n\n \r\n x\t'more  ")
def test_any_text_is_split_alike(both: Both, text: str) -> None:
    assert ids(both[0], text) == ids(both[1], text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=120))
def test_any_unicode_is_split_alike(both: Both, text: str) -> None:
    assert ids(both[0], text) == ids(both[1], text)


@pytest.mark.parametrize("run", [" ", "\n", "\u3000", "a", "A", "1", "^", "我", "e\u0301"])
def test_what_is_too_long_for_one_form_is_too_long_for_the_other(both: Both, run: str) -> None:
    for tail in ("", "x"):
        text = run * PIECE_CHARACTERS + tail
        assert ids(both[0], text) == ids(both[1], text)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["{0}{0}", "a{0}B{0}", " {0} {0}1", "1{0}\n{0}'{0}s "])
def test_every_code_point_is_split_alike(both: Both, shape: str) -> None:
    points = [chr(p) for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]
    for start in range(0, len(points), 1 << 16):
        text = "".join(shape.format(c) for c in points[start : start + (1 << 16)])
        assert ids(both[0], text) == ids(both[1], text)


@pytest.mark.slow
def test_endless_runs_are_given_up_alike(both: Both) -> None:
    for run in (" ", "\n", "\u3000", "a", "1", "^"):
        for tail in ("", "x"):
            text = run * 1_500_000 + tail
            assert ids(both[0], text) == ids(both[1], text)


def test_a_pattern_of_someone_else_is_left_alone() -> None:
    assert for_search(r"\w++|\s+(?!\S)") == r"\w++|\s+(?!\S)"
