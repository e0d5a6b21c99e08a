"""Our words are spaCy's, and the oracle gives spaCy's words exactly."""

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels import peer_words
from pipeline.corpus.kernels.peer_words import SpacyWords, peer_table
from pipeline.corpus.kernels.tokens import TokenTable, own_tokens, tokens_of, words_by
from tests.corpus.peer_decisions import batch_of, peer
from tests.corpus.test_parity_decisions import NAMES

needs_spacy = pytest.mark.skipif(
    importlib.util.find_spec("spacy") is None, reason="spaCy is not installed (extra: parity)"
)
PIECES = st.sampled_from(
    [
        *"a I don't e.g. U.S. foo.Bar x=y 5km 10% $5 ... .. . , ; :) (( )) “ ” ’s — – --".split(),
        *"a-b http://a.io é 字 naïve Straße. Mr. 1,000 'tis _x_ #1 [2] {y} xD D: (a) b.c".split(),
        *("\u00a0", "\u3000", "\x85", "\x1c", "\t", "\n", " "),
    ]
)


def words_in(table: TokenTable) -> list[list[str]]:
    data = bytes(table.data)
    tokens = [data[s:e].decode() for s, e in zip(table.starts, table.ends, strict=True)]
    return [tokens[first:last] for first, last in zip(table.bounds, table.bounds[1:], strict=False)]


@cache
def spacy_tokeniser() -> Any:
    import spacy

    return spacy.blank("en").tokenizer


def spacy_words(texts: list[str]) -> list[list[str]]:
    tokenise = spacy_tokeniser()
    return [[word for token in tokenise(text) if (word := token.text.strip())] for text in texts]


def test_own_words_are_the_peers() -> None:
    names = [name for name in NAMES if peer()[name].words is not None]
    ours = words_in(own_tokens(batch_of(names)))
    assert dict(zip(names, ours, strict=True)) == {name: peer()[name].words for name in names}


def test_own_words_are_as_many_as_the_peers() -> None:
    counts = own_tokens(batch_of(NAMES)).counts
    assert dict(zip(NAMES, counts.tolist(), strict=True)) == {
        name: peer()[name].num_words for name in NAMES
    }


def test_words_by_reaches_a_rewritten_batch() -> None:
    def whole_texts(batch: TextBatch) -> TokenTable:
        bounds = np.arange(len(batch) + 1)
        return TokenTable(batch.data, batch.offsets[:-1], batch.offsets[1:], bounds)

    batch = TextBatch.of(["one two", "three"])
    with words_by(whole_texts):
        assert words_in(tokens_of(batch.with_texts(["four five", "six"]))) == [
            ["four five"],
            ["six"],
        ]
    assert words_in(tokens_of(batch)) == [["one", "two"], ["three"]]


@needs_spacy
def test_oracle_gives_the_stored_words() -> None:
    names = [name for name, decision in peer().items() if decision.words is not None]
    found = words_in(peer_table(batch_of(names)))
    assert dict(zip(names, found, strict=True)) == {name: peer()[name].words for name in names}


@needs_spacy
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12), max_size=4))
def test_oracle_gives_spacys_words_of_any_text(pieces: list[list[str]]) -> None:
    texts = ["".join(document) if len(document) % 2 else " ".join(document) for document in pieces]
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert words_in(SpacyWords().tokenise(TextBatch.of(texts))) == spacy_words(texts)


@needs_spacy
def test_oracle_gives_the_same_words_after_it_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(NAMES)
    before = words_in(peer_table(batch))
    monkeypatch.setattr(peer_words, "MAX_REMEMBERED", 0)
    assert words_in(peer_table(batch)) == before


@needs_spacy
def test_oracle_answers_a_million_brackets_as_one_word() -> None:
    assert peer_table(TextBatch.of([")" * 1_000_000, "a b"])).counts.tolist() == [1, 2]


def test_oracle_without_spacy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from pipeline.store.errors import ConfigError

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"gristmill\[parity\]"):
        peer_words._Tokeniser()
