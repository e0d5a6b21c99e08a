"""A model that learnt one text by heart recites it, and nothing else."""

import pytest
import torch

from pipeline.evals.contamination import contamination, overlap_with
from pipeline.evals.memorisation import Recital, choose_rows, matched_tokens, memorisation
from pipeline.evals.perplexity import score_documents

LEARNT = list(b"abcdefgh")
RECITAL = Recital(3, 4)


@pytest.fixture
def parrot(model):
    """Trained until it knows one document."""
    ids = torch.tensor([[256, *LEARNT]])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        logits = model(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def test_what_was_learnt_is_recited_and_the_rest_is_not(parrot):
    found = memorisation(parrot, 256, [LEARNT] * 20, [list(b"zyxwvuts")] * 20, RECITAL)
    assert found["training"]["share"] == 1 and found["held_out"]["share"] == 0
    assert found["training"]["matched_tokens"] == 4
    assert found["excess"]["share"] == 1 and 0 < found["excess"]["low"] < 1


def test_matching_stops_at_the_first_difference(parrot):
    changed = [*LEARNT[:5], 0, *LEARNT[6:]]
    assert matched_tokens(parrot, 256, [LEARNT, changed], RECITAL).tolist() == [4, 2]


def test_without_a_long_document_there_is_no_difference_to_speak_of(model):
    found = memorisation(model, 256, [LEARNT], [], RECITAL)
    assert found["excess"] is None and found["held_out"]["documents"] == 0


def test_nothing_recited_on_either_side_still_has_an_interval(model):
    with torch.no_grad():
        model.head_weight.zero_()
    found = memorisation(model, 256, [LEARNT] * 50, [LEARNT] * 50, RECITAL)
    assert found["excess"]["share"] == 0
    assert found["excess"]["low"] == pytest.approx(-found["excess"]["high"])
    assert 0.05 < found["excess"]["high"] < 0.1


def test_documents_are_drawn_among_those_long_enough():
    lengths = [5, 50, 6, 70, 80, 90]
    assert choose_rows(lengths, 10, 10, seed=0) == [1, 3, 4, 5]
    drawn = choose_rows(lengths, 10, 2, seed=0)
    assert len(drawn) == 2 and set(drawn) <= {1, 3, 4, 5}
    assert drawn == choose_rows(lengths, 10, 2, seed=0)


def test_clean_and_dirty_documents_add_up_to_all(model, tokenizer):
    words = [" ".join(f"w{i}" for i in range(start, start + 30)) for start in (0, 100)]
    documents = {"doc_id": ["a", "b"], "text": words, "source": ["s", "s"]}
    scores = score_documents(model, tokenizer, documents, context=16, stride=8)
    overlap = overlap_with(words, [words[0]])
    assert overlap.tolist() == [1.0, 0.0]
    found = contamination(scores, overlap, limit=0.1, draws=100, seed=0)
    assert found["clean"]["documents"] == found["dirty"]["documents"] == 1
    assert found["dirty"]["nats"] == pytest.approx(scores.nats[0])
    assert found["clean"]["nats"] + found["dirty"]["nats"] == pytest.approx(scores.nats.sum())
    assert found["documents_with_any"] == 1 and found["mean_overlap"] == 0.5
