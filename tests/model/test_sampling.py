"""Temperature, top-k, top-p and the draw, as statements about probabilities."""

import pytest
import torch

from model.sampling import Sampling, draw, filter_logits, penalize_repetition


@pytest.fixture
def logits():
    return torch.randn(4, 50, generator=torch.Generator().manual_seed(0)) * 3


def probabilities(logits, **settings):
    return filter_logits(logits, Sampling(**settings)).softmax(-1)


def test_temperature_zero_leaves_the_likeliest(logits):
    kept = probabilities(logits)
    assert torch.equal(kept.argmax(-1), logits.argmax(-1))
    assert kept.max(-1).values.tolist() == [1.0] * 4


def test_temperature_one_changes_nothing(logits):
    assert torch.allclose(probabilities(logits, temperature=1.0), logits.softmax(-1))


def test_temperature_divides_the_logits(logits):
    assert torch.allclose(probabilities(logits, temperature=2.5), (logits / 2.5).softmax(-1))


def test_tiny_temperature_is_greedy_and_finite(logits):
    kept = probabilities(logits, temperature=1e-30)
    assert torch.equal(kept, probabilities(logits))


@pytest.mark.parametrize("top_k", [1, 2, 10, 50, 99])
def test_top_k_keeps_the_k_likeliest(logits, top_k):
    kept = probabilities(logits, temperature=1.0, top_k=top_k) > 0
    assert kept.sum(-1).tolist() == [min(top_k, 50)] * 4
    smallest = torch.where(kept, logits, torch.inf).min(-1).values
    largest_dropped = torch.where(kept, -torch.inf, logits).max(-1).values
    assert (smallest >= largest_dropped).all()


def test_top_k_keeps_exactly_k_among_equals():
    kept = probabilities(torch.zeros(1, 10), temperature=1.0, top_k=3)
    assert (kept > 0).sum() == 3


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 0.999])
def test_top_p_keeps_the_fewest_that_reach_p(logits, top_p):
    full = logits.softmax(-1)
    kept = probabilities(logits, temperature=1.0, top_p=top_p) > 0
    mass = torch.where(kept, full, 0).sum(-1)
    assert (mass >= top_p - 1e-6).all()
    least = torch.where(kept, full, torch.inf).min(-1).values
    assert ((mass - least) < top_p).all()  # without its least likely token it would not reach p


def test_top_p_one_drops_nothing(logits):
    assert (probabilities(logits, temperature=1.0, top_p=1.0) > 0).all()


def test_top_k_and_top_p_together_keep_no_more_than_each(logits):
    both = probabilities(logits, temperature=1.0, top_k=5, top_p=0.8) > 0
    assert (both.sum(-1) <= 5).all()
    assert (both <= (probabilities(logits, temperature=1.0, top_k=5) > 0)).all()


def test_draws_follow_the_probabilities():
    logits = torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log().expand(8000, 4)
    generators = [torch.Generator().manual_seed(7)] * 8000
    shares = torch.bincount(draw(logits, generators), minlength=4) / 8000
    assert torch.allclose(shares, torch.tensor([0.5, 0.25, 0.25, 0.0]), atol=0.02)
    assert shares[3] == 0


def test_repetition_penalty_moves_seen_tokens_down_whatever_their_sign():
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalize_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]
