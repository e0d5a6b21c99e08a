"""Words as byte spans: spaCy's English words, characters where there are no spaces."""

import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.gopher_quality import GopherQualityFilter
from pipeline.corpus.kernels.describe import (
    ALL_PUNCTUATION,
    HAS_ALPHA,
    HAS_NON_SYMBOL,
    IS_SENTENCE_END,
    token_hash,
)
from pipeline.corpus.kernels.grams import gram_chars
from pipeline.corpus.kernels.split import MAX_DOCUMENT_TOKENS
from pipeline.corpus.kernels.tokens import TokenTable, own_tokens, tokens_of, with_tokens

TEXTS = st.text(
    st.sampled_from(list("abZ09 \n\t.,:;!?'\"()[]{}<>-–—_#*&%$€+=/@…^~|\\é中の。，\u00a0\u0301°²"))
    | st.characters(exclude_categories=("Cs",)),
    max_size=60,
)


def tokens(text: str) -> list[str]:
    table = tokens_of(TextBatch.of([text]))
    data = bytes(table.data)
    return [data[a:b].decode() for a, b in zip(table.starts, table.ends, strict=True)]


# What spaCy 3.8's blank English tokenizer answers; words separated by spaces.
SPACY: dict[str, str] = {
    "Hello, world.": "Hello , world .",
    "I don't, he'll, they'd've cannot": "I do n't , he 'll , they 'd 've can not",
    "It’s John’s (U.S.) car.": "It ’s John ’s ( U.S. ) car .",
    "e.g. Mr. Smith at 10a.m. vs. 5 p.m.": "e.g. Mr. Smith at 10 a.m. vs. 5 p.m.",
    "well-known a--b x—y 3-4 10-K": "well - known a -- b x — y 3 - 4 10 - K",
    "https://example.com/a-b?c=d, me@foo.org!": "https://example.com/a-b?c=d , me@foo.org !",
    "os.path.join foo.Bar a,b 1,000.50": "os.path.join foo . Bar a , b 1,000.50",
    "def f(x): return a[i] == b": "def f(x ): return a[i ] = = b",
    ":) :-( x:) xD <3 (^_^)": ":) :-( x :) xD <3 (^_^)",
    "$5 5€ 10km 20%": "$ 5 5 € 10 km 20 %",
    'Wait... what?! "Yes," he said…': 'Wait ... what ? ! " Yes , " he said …',
    "A. B.C. USA. end. 3. C++ #tag *bold*": "A. B.C. USA . end . 3 . C++ # tag * bold *",
    "__init__ --flag key=value a/b": "_ _ init _ _ --flag key = value a / b",
}


@pytest.mark.parametrize("text", SPACY)
def test_english_words_are_those_of_spacy(text: str) -> None:
    assert tokens(text) == SPACY[text].split(" ")


def test_characters_without_spaces_are_words_of_their_own() -> None:
    assert tokens("汉字，Python3的か゚。") == ["汉", "字", "，", "Python3", "的", "か゚", "。"]


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_tokens_are_the_text_without_white_space(texts: list[str]) -> None:
    batch = TextBatch.of(texts)
    table = tokens_of(batch)
    data = bytes(table.data)
    for row, text in enumerate(texts):
        spans = range(table.bounds[row], table.bounds[row + 1])
        found = [data[table.starts[k] : table.ends[k]].decode() for k in spans]
        assert "".join(found) == "".join(text.split())
        assert all(word and not any(char.isspace() for char in word) for word in found)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_facts_of_a_token_follow_from_its_characters(text: str) -> None:
    table = tokens_of(TextBatch.of([text]))
    for word, key, chars, flags in zip(
        tokens(text), table.hashes, table.chars, table.flags, strict=True
    ):
        assert key == token_hash(word)
        assert chars == len(word)
        # Letters beyond the table (the last assigned planes) count as unknown.
        known = [char for char in word if ord(char) < 0x33480]
        assert bool(flags & HAS_ALPHA) == any(char.isalpha() for char in known)
        if word.isascii() and word.isprintable():
            assert bool(flags & HAS_NON_SYMBOL) == any(char.isalnum() for char in word)
        punctuation = all(unicodedata.category(char)[0] == "P" for char in word)
        assert bool(flags & ALL_PUNCTUATION) == punctuation
        if word in ".!?。":
            assert flags & IS_SENTENCE_END


def test_tokens_do_not_depend_on_the_neighbours() -> None:
    texts = ["Don't stop, e.g. now.", "", "汉字 and words", " \n "]
    together = tokens_of(TextBatch.of(texts))
    part = tokens_of(TextBatch.of(["x y", *texts, "z"]).slice(1, len(texts)))
    assert np.array_equal(together.hashes, part.hashes)
    assert np.array_equal(together.counts, part.counts)


def test_planted_tokens_are_what_every_filter_sees() -> None:
    batch = TextBatch.of(["one two three"])
    table = TokenTable(batch.data, np.array([0]), np.array([13]), np.array([0, 1]))
    planted = with_tokens(batch, table)
    assert tokens_of(planted) is table
    assert GopherQualityFilter().measure(planted)["words"].tolist() == [1]
    assert len(own_tokens(planted).starts) == 3


def test_tokens_of_a_huge_document_are_bounded() -> None:
    table = tokens_of(TextBatch.of(["( " * (MAX_DOCUMENT_TOKENS + 5), "and the next"]))
    assert table.counts.tolist() == [MAX_DOCUMENT_TOKENS, 3]
    top, _ = gram_chars(table.hashes, table.chars, table.bounds)
    assert top[0].tolist() == [3 * (MAX_DOCUMENT_TOKENS - 1), len("and the")]


def test_no_documents_have_no_tokens() -> None:
    table = tokens_of(TextBatch.of([]))
    assert len(table) == 0 and len(table.hashes) == 0


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**7,
        "9" * 10**7,
        "(" * 10**6,
        "." * 10**6,
        "'" * 10**6,
        "-" * 10**6,
        "a-" * 10**6,
        "@a." * 10**6,
        " " * 10**6,
        "/:" * 10**6,
        "é" * 10**6,
        "1%" * 10**6,
        ":)" * 10**6,
        "[" * 10**5 + "]" * 10**5,
    ],
    ids=lambda text: text[:3],
)
def test_hostile_chunks_take_linear_time(text: str) -> None:
    batch = TextBatch.of([text])
    tokens_of(TextBatch.of(["warm up"]))
    begin = time.process_time()
    table = tokens_of(batch)
    assert int((table.ends - table.starts).sum()) == len(text.replace(" ", "").encode())
    assert time.process_time() - begin < 5
