import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import CleanedCorpus, TrainedTokenizer
from pipeline.stages.tokenize_corpus import tokenize_corpus
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.runtime import Runtime, Silent
from pipeline.tokens import engines
from pipeline.tokens.engines import (
    LONGEST_STRETCH,
    Reference,
    choose_engine,
    first_difference,
    load_engine,
)
from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.patterns import PATTERNS, PatternName
from pipeline.tokens.tokenizer import SPECIALS, Tokenizer
from pipeline.tokens.training import train_ranks
from tests.tokens.conftest import SHARDS, paragraphs
from tests.tokens.test_tokenize_corpus import content, under

TEXTS = [b"first document", "zweites Dokument, größer".encode()]


class Said(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def event(self, name: str, facts: Any) -> None:
        if name == "warning":
            self.warnings.append(facts["message"])


def pretend(monkeypatch: pytest.MonkeyPatch, encode: Any) -> None:
    """A package `gigatoken` whose tokenizer encodes with `encode(ranks file, text)`."""

    class Fake:
        def __init__(self, path: Any) -> None:
            self.tokenizer = Tokenizer.load(path.parent)

        @classmethod
        def from_tiktoken(cls, path: Any, pretokenizer: str, special_tokens: Any) -> "Fake":
            return cls(path)

        def encode(self, text: bytes) -> np.ndarray:
            return encode(self.tokenizer, text)

    module = ModuleType("gigatoken")
    module.Tokenizer = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gigatoken", module)


def exact(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
    return tokenizer.encode_array(text.decode())


def wrong_on_thai(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
    ids = exact(tokenizer, text)
    return ids[::-1] if "ภาษา".encode() in text else ids


def wrong_on_the_second_document(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
    ids = exact(tokenizer, text)
    return ids[:-1] if text == TEXTS[1] else ids


class Panic(BaseException):
    """What a panic in Rust looks like from Python."""


def panics(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
    raise Panic("called `Option::unwrap()` on a `None` value")


def test_without_the_package_tiktoken_is_used_and_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    assert choose_engine(tokenizer, artifact.path, TEXTS) == ("tiktoken", None)


def test_an_engine_that_agrees_on_everything_is_used(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    pretend(monkeypatch, exact)
    assert choose_engine(tokenizer, artifact.path, TEXTS) == ("gigatoken", None)


@pytest.mark.parametrize(
    ("encode", "reason"),
    [(wrong_on_thai, "ภาษา"), (wrong_on_the_second_document, "zweites"), (panics, "Panic")],
)
def test_an_engine_that_differs_or_fails_is_refused_with_the_reason(
    encode: Any,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    artifact: TrainedTokenizer,
    tokenizer: Tokenizer,
) -> None:
    pretend(monkeypatch, encode)
    choice = choose_engine(tokenizer, artifact.path, TEXTS)
    assert choice.engine == "tiktoken"
    assert choice.refused is not None
    assert reason in choice.refused


def test_a_text_the_engine_fails_on_later_is_encoded_by_tiktoken(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    def panics_on_the_third(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
        return panics(tokenizer, text) if text == b"third" else exact(tokenizer, text)

    pretend(monkeypatch, panics_on_the_third)
    engine = load_engine(tokenizer, artifact.path, "gigatoken").engine
    assert engine.name.startswith("gigatoken")
    for text in (b"second", b"third", b"fourth"):
        assert engine.encode(text).tolist() == tokenizer.encode(text.decode())


def test_a_worker_with_a_wrong_engine_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    pretend(monkeypatch, wrong_on_thai)
    loaded = load_engine(tokenizer, artifact.path, "gigatoken")
    assert isinstance(loaded.engine, Reference)
    assert loaded.refused is not None


@pytest.mark.parametrize("encode", [wrong_on_thai, exact])
def test_shards_and_identity_do_not_depend_on_the_engine(
    encode: Any,
    monkeypatch: pytest.MonkeyPatch,
    root: Any,
    corpus: CleanedCorpus,
    artifact: TrainedTokenizer,
    shards: Any,
    tmp_path: Any,
) -> None:
    pretend(monkeypatch, encode)
    from pipeline.tokens import slices

    slices._prepared.cache_clear()
    inputs = under(root, tmp_path, corpus, artifact)
    said = Said()
    runtime = Runtime(progress=said)
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=runtime)
    slices._prepared.cache_clear()
    assert again.fingerprint == shards.fingerprint
    assert content(again) == content(shards)
    (used,) = again.facts["engines"]
    assert used.startswith("gigatoken" if encode is exact else "tiktoken")
    assert len(said.warnings) == (encode is not exact)


def test_a_text_tiktoken_takes_in_pieces_is_left_to_tiktoken(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    pretend(monkeypatch, exact)
    engine: Any = load_engine(tokenizer, artifact.path, "gigatoken").engine
    monkeypatch.setattr(engine, "_fast", None)
    endless = b"x" + b" " * (LONGEST_STRETCH + 1) + b"y"
    assert engine.encode(endless).tolist() == tokenizer.encode(endless.decode())
    assert engine.failed is None  # it was not even asked
    engine.encode(b"short")
    assert engine.failed is not None


def test_the_memory_of_an_engine_is_thrown_away_now_and_then(
    monkeypatch: pytest.MonkeyPatch, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    pretend(monkeypatch, exact)
    monkeypatch.setattr(engines, "RECYCLE_BYTES", 100)
    engine: Any = engines.Gigatoken(tokenizer, artifact.path, "cl100k")
    first = engine._fast
    engine.encode(b"a" * 60)
    assert engine._fast is first
    engine.encode(b"a" * 60)
    assert engine._fast is not first


def test_nasty_strings_hold_what_engines_stumble_over() -> None:
    joined = b"".join(nasty_strings()).decode()
    for piece in (
        "<|endoftext|>",
        "\t'more",
        "'ſ",
        "\u200d",
        "\x0c",
        "我",
        " " * 1000,
        *SPECIALS[:2],
    ):
        assert piece in joined
    assert len(set(joined)) > 15_000


ANY = st.text(max_size=300).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))


@pytest.fixture(scope="module", params=["gpt2", "cl100k", "o200k"])
def both(request: Any, tmp_path_factory: Any) -> tuple[engines.Engine, engines.Engine]:
    """The real gigatoken and the reference over one vocabulary."""
    pytest.importorskip("gigatoken")
    name: PatternName = request.param
    texts = [text for rows in paragraphs().values() for _, text in rows]
    made = train_ranks(
        lambda: texts, vocab_size=700, pattern=PATTERNS[name], min_pair_count=1
    ).tokenizer
    path = tmp_path_factory.mktemp(name)
    made.save(path)
    choice = choose_engine(made, path, [text.encode() for text in texts])
    assert choice == ("gigatoken", None)
    return load_engine(made, path, "gigatoken").engine, Reference(made)


@settings(max_examples=300, deadline=None)
@given(text=ANY)
def test_gigatoken_equals_tiktoken_on_any_text(
    both: tuple[engines.Engine, engines.Engine], text: str
) -> None:
    assert first_difference(*both, [text.encode()]) is None


@pytest.mark.slow
def test_gigatoken_equals_tiktoken_on_every_code_point(
    both: tuple[engines.Engine, engines.Engine],
) -> None:
    points = [p for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]
    for start in range(0, len(points), 4096):
        text = "".join(f"a{chr(p)}B {chr(p)}1{chr(p)}" for p in points[start : start + 4096])
        assert first_difference(*both, [text.encode()]) is None


def test_a_pattern_the_fast_engine_does_not_know_stays_with_tiktoken(
    corpus: CleanedCorpus, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, exact)
    made = train_tokenizer(
        TrainedTokenizerConfig(vocab_size=400, pattern="han"),
        corpus, root=tmp_path, runtime=Runtime(),
    )  # fmt: skip
    choice = choose_engine(Tokenizer.load(made.path), made.path, TEXTS)
    assert choice == ("tiktoken", None)
