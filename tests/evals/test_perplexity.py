"""Every text token scored once, given bos and what precedes it, whatever the batching."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evals.document_scores import read_scores, write_scores
from pipeline.evals.perplexity import score_documents, summarise, windows
from pipeline.evals.scoring import sequence_nats, sequence_outcomes
from pipeline.store.errors import DataError, TrainingError
from tests.conversations.byte_tokenizer import ByteTokenizer, WordTokenizer

TEXTS = [
    "a",
    "short one",
    "a document of seventy bytes, longer than several windows of the model",
    "é",
    "0" * 16,
    "1" * 15,
]
DOCUMENTS = {
    "doc_id": [f"d{i}" for i in range(len(TEXTS))],
    "text": TEXTS,
    "source": ["x", "y", "x", "y", "x", "x"],
}


def naive_nats(model, tokenizer, text, context, stride):
    """Plain reading: one window, one token at a time; the last window is moved back to be full."""
    ids = [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]
    last = len(ids) - 2  # the last token of the text
    nats, scored_to = [], 0

    def nll(start, stop, target):
        with torch.no_grad():
            logits = model(torch.tensor([ids[start:stop]]))[0].double()
        return -float(torch.log_softmax(logits, dim=-1)[target - 1 - start, ids[target]])

    while scored_to < last:
        stop = min(context if scored_to == 0 else scored_to + stride, last)
        nats += [nll(max(0, stop - context), stop, t) for t in range(scored_to + 1, stop + 1)]
        scored_to = stop
    start = 0 if last < context else last + 1 - context // 2
    return nats, nll(start, last + 1, last + 1)


@pytest.mark.parametrize("stride", [16, 8, 5, 1])
def test_sums_equal_the_naive_computation(model, tokenizer, stride):
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=stride)
    for i, text in enumerate(TEXTS):
        nats, eos = naive_nats(model, tokenizer, text, 16, stride)
        assert scores.nats[i] == pytest.approx(sum(nats), rel=1e-5)
        assert scores.eos_nats[i] == pytest.approx(eos, rel=1e-4)
        assert scores.tokens[i] == len(nats) == len(text.encode())
        assert scores.num_bytes[i] == len(text.encode())


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_batch_size_changes_nothing(model, tokenizer, batch_tokens):
    one = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    other = score_documents(
        model, tokenizer, DOCUMENTS, context=16, stride=8, batch_tokens=batch_tokens
    )
    np.testing.assert_allclose(other.nats, one.nats, rtol=1e-6)


def test_a_document_is_scored_alone(model, tokenizer):
    alone = {name: values[2:3] for name, values in DOCUMENTS.items()}
    one = score_documents(model, tokenizer, alone, context=16, stride=8)
    together = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    assert one.nats[0] == pytest.approx(together.nats[2], rel=1e-6)


def test_a_uniform_model_needs_log2_of_the_vocabulary_per_token(model, tokenizer):
    with torch.no_grad():
        model.head_weight.zero_()
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    report = summarise(scores, context=16, stride=8, draws=200, seed=0)
    # One byte, one token: bits per byte is bits per token.
    assert report["bits_per_byte"] == pytest.approx(math.log2(263), rel=1e-6)
    assert report["token_perplexity"] == pytest.approx(263, rel=1e-5)
    assert report["bits_per_byte_low"] == pytest.approx(report["bits_per_byte_high"], rel=1e-6)


def test_worked_example_of_the_source_texts_has_six_predictions(model):
    """2 5 6 1 8 7 6 0 0 0: seven real tokens, three of padding, six scored next tokens."""
    ids = np.array([2, 5, 6, 1, 8, 7, 6])
    (nats,) = sequence_nats(model, [ids])
    assert len(nats) == 6
    longer = np.arange(1, 11)  # forces three positions of padding into the first row
    padded, _ = sequence_nats(model, [ids, longer], batch_tokens=100)
    np.testing.assert_allclose(padded, nats, rtol=1e-5)


def test_a_one_token_document_is_scored_given_bos(model, tokenizer):
    scores = score_documents(
        model, tokenizer, {"doc_id": ["d"], "text": ["a"], "source": ["x"]}, context=16, stride=8
    )
    with torch.no_grad():
        logp = torch.log_softmax(model(torch.tensor([[256]]))[0, 0].double(), dim=-1)
    assert scores.nats[0] == pytest.approx(-float(logp[97]), rel=1e-5)


def test_an_empty_document_counts_nothing_and_an_empty_set_is_refused(model, tokenizer):
    documents = {"doc_id": ["d", "e"], "text": ["", "ab"], "source": ["empty", "x"]}
    scores = score_documents(model, tokenizer, documents, context=16, stride=8)
    assert scores.nats[0] == 0 and scores.tokens[0] == 0
    report = summarise(scores, context=16, stride=8, draws=200, seed=0)
    assert report["per_source"]["empty"]["bytes"] == 0
    assert report["bits_per_byte_macro"] == report["per_source"]["x"]["bits_per_byte"]
    with pytest.raises(DataError, match="holds no text"):
        score_documents(
            model, tokenizer, {"doc_id": [], "text": [], "source": []}, context=16, stride=8
        )


def test_weights_that_give_nan_are_reported_not_averaged(model, tokenizer):
    with torch.no_grad():
        model.head_weight[5] = float("nan")
    with pytest.raises(TrainingError, match="loss of nan at token 1: the weights are damaged"):
        score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)


def test_a_tokenizer_that_changes_the_text_is_refused(model):
    documents = {"doc_id": ["d"], "text": ["1 2"], "source": ["x"]}
    with pytest.raises(DataError, match="document 'd' has 3 bytes, its tokens 2"):
        score_documents(model, WordTokenizer(), documents, context=16, stride=8)


def test_a_stride_beyond_the_context_is_refused(model, tokenizer):
    with pytest.raises(DataError, match=r"stride=17 must be in 1..16"):
        score_documents(model, tokenizer, DOCUMENTS, context=16, stride=17)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 32), st.data())
def test_windows_cover_every_target_once_with_enough_context(length, context, data):
    stride = data.draw(st.integers(1, context))
    spans = windows(length, context, stride)
    targets = [t for _, stop, first in spans for t in range(first, stop + 1)]
    assert targets == list(range(1, length + 1))
    assert all(stop - start <= context for start, stop, _ in spans)
    seen = [first - start for start, _, first in spans[1:]]
    assert all(n >= context - stride + 1 for n in seen)
    assert all(stop - start == context for start, stop, _ in spans[1:])


def test_bootstrap_is_deterministic_and_holds_the_estimate(model, tokenizer):
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    one = summarise(scores, context=16, stride=8, draws=500, seed=3)
    assert one == summarise(scores, context=16, stride=8, draws=500, seed=3)
    assert one["bits_per_byte_low"] <= one["bits_per_byte"] <= one["bits_per_byte_high"]
    other = summarise(scores, context=16, stride=8, draws=500, seed=4)
    assert one["bits_per_byte_low"] != other["bits_per_byte_low"]


def test_perplexities_are_one_sum_over_four_counts(model, tokenizer):
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    report = summarise(scores, context=16, stride=8, draws=200, seed=0)
    nats = sum(sum(naive_nats(model, tokenizer, text, 16, 8)[0]) for text in TEXTS)
    words = 1 + 2 + 12 + 1 + 1 + 1
    assert report["words"] == words
    assert math.log(report["word_perplexity"]) == pytest.approx(nats / words, rel=1e-5)
    assert math.log(report["byte_perplexity"]) == pytest.approx(nats / report["bytes"], rel=1e-5)
    assert math.log2(report["byte_perplexity"]) == pytest.approx(report["bits_per_byte"])


def test_languages_come_from_the_documents_or_from_their_text(model, tokenizer):
    texts = ["The cat sat on the mat and was happy.", "猫坐在垫子上,很高兴。"]
    documents = {"doc_id": ["a", "b"], "text": texts, "source": ["x", "x"]}
    told = score_documents(model, tokenizer, documents, context=16, stride=8)
    assert told.languages == ("en", "zh")
    given = {**documents, "language": ["la", "la"]}
    report = summarise(
        score_documents(model, tokenizer, given, context=16, stride=8),
        context=16, stride=8, draws=100, seed=0,
    )  # fmt: skip
    assert list(report["per_language"]) == ["la"]
    assert report["bits_per_byte_macro_languages"] == report["bits_per_byte"]


def test_asking_for_confidence_changes_no_loss(model, tokenizer):
    sequences = [np.array([256, *text.encode()][:17]) for text in TEXTS]
    plain = sequence_nats(model, sequences)
    asked = sequence_outcomes(model, sequences, confidence=True)
    for ids, nats, outcome in zip(sequences, plain, asked, strict=True):
        assert outcome.nats.tolist() == nats.tolist()
        with torch.no_grad():
            shares = torch.softmax(model(torch.from_numpy(ids[:-1])[None])[0], dim=-1)
        top = shares.max(dim=-1)
        np.testing.assert_allclose(outcome.confidence, top.values, rtol=1e-4)
        assert outcome.hits.tolist() == (top.indices.numpy() == ids[1:]).tolist()


def test_micro_total_is_weighted_by_bytes_and_macro_is_not(model, tokenizer):
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    report = summarise(scores, context=16, stride=8, draws=200, seed=0)
    rows = report["per_source"].values()
    assert report["nats"] == pytest.approx(sum(row["nats"] for row in rows))
    assert report["tokens"] == sum(row["tokens"] for row in rows) == report["bytes"]
    assert report["bits_per_byte_macro"] == pytest.approx(
        sum(row["bits_per_byte"] for row in rows) / 2
    )


def test_document_scores_survive_their_file(model, tokenizer, tmp_path):
    scores = score_documents(model, tokenizer, DOCUMENTS, context=16, stride=8)
    write_scores(tmp_path / "documents.arrow", scores)
    table = read_scores(tmp_path / "documents.arrow")
    assert table["doc_id"].to_pylist() == DOCUMENTS["doc_id"]
    assert table["nats"].to_pylist() == scores.nats.tolist()
    assert table["overlap"].null_count == len(TEXTS)


def test_token_bytes_are_those_of_the_byte_tokenizer():
    assert ByteTokenizer().token_bytes(97) == b"a"
