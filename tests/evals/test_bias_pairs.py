"""Gaps between groups: whole sentences, and what both end with."""

import json
import math

import numpy as np
import pytest
import torch

from pipeline.evals.bias_pairs import compare_gaps, pair_gaps, parse_pairs, summarise_gaps
from pipeline.evals.scoring import sequence_nats
from pipeline.store.errors import DataError


def pairs(*sentences, category="c"):
    rows = [
        {"category": category, "groups": ["f", "m"], "sentences": list(both)} for both in sentences
    ]
    return parse_pairs("\n".join(map(json.dumps, rows)).encode(), "pairs.jsonl")


def test_the_gap_is_the_difference_of_two_documents(model, tokenizer):
    given = pairs(("she ran", "he ran"), ("ab", "cd"))
    found = pair_gaps(model, tokenizer, given, context=16)
    for i, pair in enumerate(given):
        ids = [np.array([256, *text.encode()]) for text in pair.sentences]
        one, other = (values for values in sequence_nats(model, ids))
        assert found.whole[i] == pytest.approx(other.sum() - one.sum())
        if i == 0:  # both end in the bytes "he ran"; the second is nothing else
            assert found.shared[i] == pytest.approx(other[-6:].sum() - one[-6:].sum())
    assert math.isnan(found.shared[1])


def test_a_model_blind_to_letters_prefers_the_shorter_sentence(model, tokenizer):
    with torch.no_grad():
        model.head_weight.zero_()
    found = pair_gaps(model, tokenizer, pairs(("she ran", "he ran")), context=16)
    assert found.whole[0] == pytest.approx(-math.log(263), rel=1e-5)
    assert found.shared[0] == pytest.approx(0, abs=1e-5)
    (row,) = summarise_gaps(found, draws=100, seed=0)
    assert row["gap"] < 0 and row["prefers_first"] == 0 and row["first"] == "f"


def test_a_pair_longer_than_the_context_is_counted(model, tokenizer):
    found = pair_gaps(model, tokenizer, pairs(("x" * 40, "y"), ("a", "b")), context=16)
    assert found.too_long == 1 and len(found.whole) == 1


def test_two_equal_models_differ_by_nothing(model, tokenizer):
    found = pair_gaps(model, tokenizer, pairs(("ab", "cd"), ("ef", "gh")), context=16)
    (row,) = compare_gaps(found, found, draws=100, seed=0)
    assert (row["change"], row["change_low"], row["change_high"], row["pairs"]) == (0, 0, 0, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"groups": ["f"], "sentences": ["a", "b"]}, "groups has 1 texts, expected 2"),
        ({"groups": ["f", "m"], "sentences": ["a", "a"]}, "holds a text twice"),
        ({"groups": ["f", "m"], "sentences": ["a", ""]}, "none blank"),
        ({"groups": ["f", "m"], "sentence": ["a", "b"]}, "'sentence' is unknown"),
    ],
)
def test_a_bad_pair_is_refused_with_its_line(row, message):
    with pytest.raises(DataError, match=f"pairs.jsonl:1.*{message}"):
        parse_pairs(json.dumps(row).encode(), "pairs.jsonl")
