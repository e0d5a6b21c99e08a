"""The CPU kernels for RMSNorm and attention are the plain ones, over many blocks."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.attention import Attention
from model.cpu_attention import BLOCK_ROWS, document_boundaries
from model.layers import linear
from model.norms import RMSNorm
from tests.model.conftest import TINY, random_weights, tokens

LENGTH = 2 * BLOCK_ROWS + 23


def gradients(model, inputs, segments):
    model.zero_grad()
    logits = model(inputs, segment_ids=segments)
    logits.square().mean().backward()
    return logits, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("cuts", [(), (5,), (BLOCK_ROWS,), (40, BLOCK_ROWS + 1, 130)])
def test_attention_by_blocks_equals_the_kernel(name, cuts, monkeypatch):
    model = random_weights(replace(TINY[name], context_length=LENGTH).build(seed=1))
    inputs = tokens(2, LENGTH)
    segments = torch.ones(2, LENGTH, dtype=torch.int64)
    for cut in cuts:
        segments[1, cut:] += 1
    found, found_gradients = gradients(model, inputs, segments)
    monkeypatch.setattr(Attention, "_fits_cpu", lambda *_: False)
    expected, expected_gradients = gradients(model, inputs, segments)
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())
    for key, gradient in expected_gradients.items():
        largest = (found_gradients[key] - gradient).abs().max().item()
        assert largest <= 1e-5 * max(1.0, gradient.abs().max().item()), f"{key}: {largest}"


def test_training_and_evaluation_have_the_same_logits(model):
    inputs = tokens(2, 40)
    with torch.no_grad():
        expected = model(inputs)
    assert torch.allclose(model(inputs), expected, atol=1e-5)


def test_padding_at_the_end_is_a_boundary_and_a_returning_id_is_none():
    segments = torch.tensor([[1, 1, 2, 0], [3, 3, 3, 3]])
    assert document_boundaries(segments).starts == ((0, 2), (0, 3))
    assert document_boundaries(torch.tensor([[1, 2, 1, 1]])) is None
    assert document_boundaries(torch.tensor([[0, 0, 1, 1]])) is None


def test_a_returning_segment_id_still_attends_to_itself(family_model):
    inputs = tokens(1, 12)
    back = torch.tensor([[1] * 4 + [2] * 4 + [1] * 4])
    positions = torch.arange(12).unsqueeze(0)
    before = family_model(inputs, positions, back)
    changed = inputs.clone()
    changed[0, 0] = (changed[0, 0] + 1) % 97
    after = family_model(changed, positions, back)
    assert torch.equal(after[:, 4:8], before[:, 4:8])
    assert not torch.allclose(after[:, 8:], before[:, 8:])


@pytest.mark.parametrize("shape", [(3, 7, 32), (2, 5, 3, 16)])
def test_rms_norm_equals_the_composed_one(shape):
    norm = random_weights(RMSNorm(shape[-1], 1e-6))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
    x = torch.empty(shape).normal_(generator=generator).requires_grad_()
    upstream = torch.empty(shape).normal_(generator=generator)
    found = torch.autograd.grad(norm(x), (x, norm.weight), upstream)
    plain = F.rms_norm(x, (shape[-1],), norm.weight, 1e-6)
    expected = torch.autograd.grad(plain, (x, norm.weight), upstream)
    assert torch.allclose(norm(x), plain, atol=1e-6)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_bfloat16_gradients_point_where_float32_ones_do(family):
    exact, rough = family.build(seed=1), family.build(seed=1, compute_dtype="bfloat16")
    segments = torch.ones(2, 40, dtype=torch.int64)
    segments[1, 17:] = 2
    _, expected = gradients(exact, tokens(2, 40), segments)
    _, found = gradients(rough, tokens(2, 40), segments)
    for name, gradient in expected.items():
        if gradient.norm() > 1e-6:  # a key's bias has no gradient but rounding
            cosine = F.cosine_similarity(gradient.flatten(), found[name].flatten(), dim=0)
            assert cosine > 0.98, f"{name}: {cosine}"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 16), (7, 16), (0, 16), (3, 1, 1)])
def test_linear_map_with_its_bias_in_the_product_equals_the_sum_in_float32(shape, transposed):
    generator = torch.Generator().manual_seed(0)
    x = torch.empty(shape).normal_(generator=generator).bfloat16()
    x = (x.transpose(0, -2).contiguous().transpose(0, -2) if transposed else x).requires_grad_()
    weight = torch.empty(24, shape[-1]).normal_(generator=generator).requires_grad_()
    bias = torch.empty(24).normal_(generator=generator).requires_grad_()
    product = linear(x, weight, bias)
    upstream = torch.empty(product.shape).normal_(generator=generator)
    found = torch.autograd.grad(product, (x, weight, bias), upstream.bfloat16())
    plain = F.linear(x.float(), weight.bfloat16().float(), bias.bfloat16().float())
    expected = torch.autograd.grad(plain, (x, weight, bias), upstream.bfloat16().float())
    assert product.dtype == torch.bfloat16
    for one, other in zip((product, *found), (plain, *expected), strict=True):
        assert torch.allclose(
            one.float(), other.float(), atol=2**-7, rtol=2**-7
        )  # half an ulp is 2^-9
