"""Whatever the text: steps about content neither fail nor break UTF-8 nor depend on neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.bias import mentions
from pipeline.corpus.classifying.features import mean_weights
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Rewrite
from pipeline.corpus.filters.url import UrlFilter
from pipeline.corpus.filters.word_list import HarmfulWords
from pipeline.corpus.rewrites.harmful_lines import HarmfulLines
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.corpus.rewrites.spans import Text

PIECES = st.sampled_from(
    [
        *"\n \t(+1x:号：é\u00a0\ufffd\U0001f600",
        *("a@b.com", "8.8.8.8", "+44 20 7946 0958", "（010）65529988", "415\u2011555\u20112671"),
        *("tel: ", "4111 1111 1111 1111", "11010519491231002X", "123-45-6789", "SSN "),
        *("AKIAIOSFODNN7EXAMPLE", "-----BEGIN PRIVATE KEY-----", "MIIEpAIBAAKCAQEA"),
        *("-----END PRIVATE KEY-----", "色情网站", "free porn", "woman", "穆斯林"),
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))
BATCHES = st.lists(TEXTS.filter(lambda t: t.isprintable() or "\ud800" not in t), max_size=5)
REWRITES = (PersonalData(), PersonalData(addresses="placeholders"), HarmfulLines())


def safe(texts: list[str]) -> list[str]:
    return [text.encode("utf-8", "replace").decode() for text in texts]


@pytest.mark.parametrize("step", REWRITES, ids=lambda step: step.name)
@settings(max_examples=100, deadline=None)
@given(BATCHES.map(safe))
def test_rewrites_keep_utf8_order_and_independence(step: Rewrite, texts: list[str]):
    done = step.apply(TextBatch.of(texts))
    done.batch.text_array.validate(full=True)
    assert len(done.batch) == len(texts)
    assert done.batch.texts == [step.apply(TextBatch.of([t])).batch.texts[0] for t in texts]
    assert all(len(values) == len(texts) for values in done.measures.values())


@settings(max_examples=100, deadline=None)
@given(BATCHES.map(safe))
def test_measures_are_the_same_alone_and_in_a_batch(texts: list[str]):
    weights = np.random.default_rng(0).normal(size=1 << 10).astype(np.float32)

    def measured(batch: TextBatch) -> dict[str, np.ndarray]:
        scores = mean_weights(Text.of(batch), weights, byte_ngram=3)
        return {**HarmfulWords().measure(batch), **mentions(batch), "score": scores}

    whole = measured(TextBatch.of(texts))
    for row, text in enumerate(texts):
        alone = measured(TextBatch.of([text]))
        assert all(alone[name][0] == values[row] for name, values in whole.items())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4).map(safe))
def test_no_address_breaks_the_filter(urls: list[str]):
    batch = TextBatch.of(["x"] * len(urls), metadata=[{"url": url} for url in urls])
    measures = UrlFilter(require_url=True).measure(batch)
    assert all(len(values) == len(urls) for values in measures.values())
