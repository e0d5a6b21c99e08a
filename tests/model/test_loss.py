"""The chunked cross-entropy is the plain one: values, gradients, masks."""

import pytest
import torch
from torch.nn import functional as F

from model.loss import HeadSettings, logits_nll, nll_sum, token_nll
from tests.model.conftest import tokens


def problem(rows=3, length=17, width=24, vocab_size=53, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.empty(rows, length, width).normal_(generator=generator).requires_grad_()
    head = torch.empty(vocab_size, width).normal_(generator=generator).requires_grad_()
    targets = torch.randint(0, vocab_size, (rows, length), generator=generator)
    mask = (torch.rand(rows, length, generator=generator) < 0.7).float()
    return hidden, head, targets, mask


def plain(hidden, head, targets, mask):
    nll = F.cross_entropy((hidden @ head.T).flatten(0, 1), targets.flatten(), reduction="none")
    return (nll * mask.flatten()).sum()


@pytest.mark.parametrize("chunk_rows", [1, 7, 51, 1000, None])
def test_chunked_loss_and_gradients_equal_plain_ones(chunk_rows):
    hidden, head, targets, mask = problem()
    expected = plain(hidden, head, targets, mask) / mask.sum()
    gradients = torch.autograd.grad(expected, (hidden, head))
    total, count = nll_sum(hidden, head, targets, mask, chunk_rows=chunk_rows)
    found = torch.autograd.grad(total / count, (hidden, head))
    assert (total / count).item() == pytest.approx(expected.item(), abs=1e-5)
    for one, other in zip(found, gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_gradients_survive_a_check_in_finite_differences():
    hidden, head, targets, mask = problem(1, 4, 5, 7)
    total, _ = nll_sum(hidden, head, targets, mask)
    (gradient,) = torch.autograd.grad(total, hidden)
    step = 1e-2
    for index in ((0, 0, 0), (0, 2, 3), (0, 3, 4)):
        moved = hidden.detach().clone()
        moved[index] += step
        higher = plain(moved, head, targets, mask)
        moved[index] -= 2 * step
        slope = (higher - plain(moved, head, targets, mask)) / (2 * step)
        assert slope.item() == pytest.approx(gradient[index].item(), abs=2e-3)


def test_fractional_weights_scale_the_loss():
    hidden, head, targets, _ = problem()
    mask = torch.rand(3, 17)
    total, count = nll_sum(hidden, head, targets, mask)
    assert total.item() == pytest.approx(plain(hidden, head, targets, mask).item(), rel=1e-6)
    assert count.item() == pytest.approx(mask.sum().item(), rel=1e-6)


def test_masked_targets_are_never_read():
    hidden, head, targets, mask = problem()
    expected, _ = nll_sum(hidden, head, targets, mask)
    corrupted = torch.where(mask > 0, targets, -100)
    found, _ = nll_sum(hidden, head, corrupted, mask)
    assert torch.equal(found, expected)


def test_nothing_to_train_gives_zero_and_zero_gradients():
    hidden, head, targets, mask = problem()
    total, count = nll_sum(hidden, head, targets, torch.zeros_like(mask))
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0.0)
    assert hidden.grad.abs().max() == 0
    assert head.grad.abs().max() == 0


def test_without_gradients_the_value_is_the_same():
    hidden, head, targets, mask = problem()
    expected, _ = nll_sum(hidden, head, targets, mask, chunk_rows=5)
    with torch.no_grad():
        found, _ = nll_sum(hidden, head, targets, mask, chunk_rows=5)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_sums_are_float64():
    hidden, head, targets, mask = problem()
    total, count = nll_sum(hidden, head, targets, mask)
    assert total.dtype == count.dtype == torch.float64


def test_token_nll_equals_the_loss_from_logits(model):
    inputs = tokens(2, 13)
    hidden = model.hidden(inputs[:, :-1])
    found = token_nll(hidden, model.head_weight, inputs[:, 1:], chunk_rows=5)
    assert torch.allclose(found, logits_nll(model(inputs[:, :-1]), inputs[:, 1:]), atol=1e-5)
    assert not found.requires_grad


def test_t_tokens_give_t_minus_one_predictions(model):
    text = tokens(1, 13)
    inputs, targets = text[:, :-1], text[:, 1:]
    total, count = nll_sum(
        model.hidden(inputs), model.head_weight, targets, torch.ones(targets.shape)
    )
    assert count.item() == 12
    steps = [
        F.cross_entropy(model(text[:, : t + 1])[:, -1], text[:, t + 1], reduction="sum")
        for t in range(12)
    ]
    assert total.item() == pytest.approx(torch.stack(steps).sum().item(), rel=1e-5)


def test_bfloat16_products_stay_close_to_float32():
    hidden, head, targets, mask = problem()
    with torch.no_grad():
        exact, _ = nll_sum(hidden, head, targets, mask)
        rough, _ = nll_sum(hidden.bfloat16(), head, targets, mask)
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)
    total, _ = nll_sum(hidden.bfloat16(), head, targets, mask)
    (gradient,) = torch.autograd.grad(total, head)
    assert gradient.dtype == torch.float32


CAP, Z = 3.0, 0.05


def objective(hidden, head, bias, targets, mask, *, cap, z_loss):
    """Autograd's way: bias, cap, nll and the penalty on log Z."""
    logits = (hidden @ head.T + bias).flatten(0, 1)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    nll = F.cross_entropy(logits, targets.flatten(), reduction="none")
    penalty = z_loss * logits.logsumexp(-1).square()
    return (nll * mask.flatten()).sum(), ((nll + penalty) * mask.flatten()).sum()


@pytest.mark.parametrize("cap", [None, CAP])
@pytest.mark.parametrize("z_loss", [0.0, Z])
@pytest.mark.parametrize("chunk_rows", [7, None])
def test_bias_cap_and_z_loss_have_the_gradients_of_their_definition(cap, z_loss, chunk_rows):
    hidden, head, targets, mask = problem()
    hidden, head = (t.detach().double().requires_grad_() for t in (hidden, head))
    bias = torch.linspace(-1, 1, 53, dtype=torch.float64, requires_grad=True)
    nll, total = objective(hidden, head, bias, targets, mask, cap=cap, z_loss=z_loss)
    expected = torch.autograd.grad(total, (hidden, head, bias))
    settings = HeadSettings(softcap=cap, z_loss=z_loss)
    found, _ = nll_sum(hidden, head, targets, mask, chunk_rows, bias=bias, settings=settings)
    assert found.item() == pytest.approx(nll.item(), rel=1e-12)  # the value is the nll alone
    gradients = torch.autograd.grad(found, (hidden, head, bias))
    for one, other in zip(gradients, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_evaluation_sees_bias_and_cap_too():
    hidden, head, targets, _ = problem()
    bias = torch.linspace(-1, 1, 53)
    settings = HeadSettings(softcap=CAP)
    nll = token_nll(hidden, head, targets, 7, bias=bias, settings=settings)
    total, _ = nll_sum(hidden, head, targets, torch.ones(3, 17), bias=bias, settings=settings)
    assert nll.sum().item() == pytest.approx(total.item(), rel=1e-6)
    assert not torch.allclose(nll, token_nll(hidden, head, targets, 7), atol=1e-2)
