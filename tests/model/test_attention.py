"""Who attends to whom: causality, the two masks of the source texts, packed documents."""

import pytest
import torch

from model.attention import (
    document_mask,
    packed_causal_mask,
    padding_mask,
    sequence_mask,
)
from tests.model.conftest import TINY, random_weights, tokens


def test_a_later_token_never_changes_an_earlier_logit(model):
    inputs = tokens(1, 12)
    before = model(inputs)
    for position in range(12):
        changed = inputs.clone()
        changed[0, position] = (changed[0, position] + 1) % 97
        after = model(changed)
        assert torch.equal(after[:, :position], before[:, :position])
        assert not torch.allclose(after[:, position:], before[:, position:])


def test_mask_shapes_and_values():
    padding = padding_mask(torch.tensor([[True, True, False]]))
    causal = sequence_mask(3)
    assert padding.shape == (1, 1, 1, 3)
    assert causal.shape == (1, 1, 3, 3)
    allowed = (padding + causal)[0, 0] == 0
    assert allowed.tolist() == [[True, False, False], [True, True, False], [True, True, False]]


def test_packed_mask_is_the_sum_of_sequence_and_document_mask():
    segments = torch.tensor([[1, 1, 2, 2, 0]])
    total = sequence_mask(5) + document_mask(segments)
    assert torch.equal(total == 0, packed_causal_mask(segments) == 0)


def test_padding_changes_nothing_for_real_tokens(model):
    short, padded = tokens(1, 9), tokens(1, 14, seed=5)
    padded[:, :9] = short
    segments = (torch.arange(14) < 9).long().unsqueeze(0)
    alone, beside = model(short), model(padded, segment_ids=segments)[:, :9]
    assert torch.allclose(alone, beside, atol=1e-5)
    assert torch.isfinite(model(padded, segment_ids=segments)).all()


def test_padding_mask_plus_sequence_mask_is_what_segment_ids_do(family_model, monkeypatch):
    inputs = tokens(2, 10)
    segments = torch.tensor([[1] * 7 + [0] * 3, [1] * 10])
    expected = family_model(inputs, segment_ids=segments)
    both = padding_mask(segments != 0) + sequence_mask(10)  # (B, 1, T, T)
    monkeypatch.setattr("model.language_model.packed_causal_mask", lambda *_: both)
    summed = family_model(inputs, segment_ids=segments)
    real = segments != 0
    assert torch.allclose(summed[real], expected[real], atol=1e-5)


def test_packed_documents_equal_documents_alone(model):
    first, second = tokens(1, 11), tokens(1, 8, seed=1)
    packed = torch.cat((first, second), dim=1)
    segments = torch.tensor([[1] * 11 + [2] * 8])
    together = model(packed, segment_ids=segments)
    alone = torch.cat((model(first), model(second)), dim=1)
    largest = (together - alone).abs().max().item()
    assert largest <= 1e-5, f"packing changed a logit by {largest}"


def test_packed_documents_have_the_gradients_of_documents_alone(family_model):
    first, second = tokens(1, 11), tokens(1, 8, seed=1)
    segments = torch.tensor([[1] * 11 + [2] * 8])

    def gradients(loss):
        family_model.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in family_model.parameters()]

    packed = family_model(torch.cat((first, second), dim=1), segment_ids=segments)
    together = gradients(packed.square().mean() * 19)
    alone = gradients(
        family_model(first).square().mean() * 11 + family_model(second).square().mean() * 8
    )
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_rotation_depends_on_distance_only():
    model = random_weights(TINY["llama"].build(seed=1))
    inputs = tokens(1, 10)
    here = model(inputs)
    there = model(inputs, positions=torch.arange(20, 30).unsqueeze(0))
    assert torch.allclose(here, there, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-sinusoidal", "qwen3"])
def test_order_matters(name):
    model = random_weights(TINY[name].build(seed=1))
    inputs = torch.tensor([[3, 5, 7]])
    swapped = torch.tensor([[5, 3, 7]])
    assert not torch.allclose(model(inputs)[:, -1], model(swapped)[:, -1], atol=1e-3)
