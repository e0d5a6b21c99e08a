"""Dropout: what it drops, and where it must do nothing."""

from dataclasses import replace

import pytest
import torch

from model.architectures import AnyModel, BertConfig, GPT2Config, Qwen3Config
from model.batch import Source
from model.blocks import dropped
from model.encoder_decoder import EncoderDecoder
from model.language_model import LanguageModel
from model.t5 import T5Config

SHAPES = (
    Qwen3Config(width=32, layers=2, heads=2, kv_heads=1, head_width=16, hidden_width=64),
    GPT2Config(width=32, layers=2, heads=2),
    BertConfig(width=32, layers=2, heads=2, hidden_width=64),
    T5Config(width=32, layers=2, heads=2, head_width=16, hidden_width=64),
)
IDS = torch.arange(24).view(2, 12)


def built(shape: AnyModel, rate: float) -> LanguageModel:
    model = replace(shape, vocab_size=64, context_length=16).build()
    model.set_dropout(rate)
    return model


def logits(model: LanguageModel) -> torch.Tensor:
    if isinstance(model, EncoderDecoder):
        return model(IDS, source=Source(IDS, torch.ones_like(IDS)))
    return model(IDS)


def test_the_share_is_dropped_and_the_mean_kept() -> None:
    torch.manual_seed(0)
    x = torch.ones(211, 503, requires_grad=True)  # no multiple of eight
    y = dropped(x, 0.25)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    # No place of the eight that share a random word is dropped more often than another.
    by_place = (y.flatten()[: 211 * 503 // 8 * 8].view(-1, 8) == 0).float().mean(0)
    assert by_place.tolist() == pytest.approx([0.25] * 8, abs=0.015)
    assert y.max().item() == pytest.approx(4 / 3)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y)  # the gradient passes where the number did


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_training_is_noisy_by_the_seed_and_everything_else_is_exact(shape: AnyModel) -> None:
    plain, noisy = built(shape, 0.0), built(shape, 0.3)
    exact = logits(plain)
    torch.manual_seed(1)
    first, second = logits(noisy), logits(noisy)
    torch.manual_seed(1)
    again = logits(noisy)
    assert torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, exact)
    with torch.no_grad():
        assert torch.equal(logits(noisy), logits(plain))
    noisy.eval()
    assert torch.equal(logits(noisy), exact)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_blocks_computed_again_drop_the_same(shape: AnyModel) -> None:
    gradients = []
    for recompute in (False, True):
        model = built(shape, 0.3)
        model.recompute = recompute
        torch.manual_seed(2)
        logits(model).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(bool(g.abs().sum() > 0) for g in gradients[0])
