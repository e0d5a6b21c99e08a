"""What is off unless asked for: capped logits, blocks computed again."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from model.errors import WeightsError
from model.generate import generate
from model.huggingface import export_weights
from tests.model.conftest import BERT, TINY, random_weights, tokens

CAP = 2.0


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_capped_logits_are_the_tanh_of_the_plain_ones(name):
    plain = random_weights(TINY[name].build(seed=1))
    capped = random_weights(replace(TINY[name], logit_softcap=CAP).build(seed=1))
    inputs = tokens(2, 12)
    expected = CAP * torch.tanh(plain(inputs) / CAP)
    assert torch.allclose(capped(inputs), expected, atol=1e-6)
    assert capped(inputs).abs().max() < CAP < plain(inputs).abs().max()
    prompt = tokens(1, 6).tolist()
    assert generate(capped, prompt, 12) == generate(plain, prompt, 12)  # a cap keeps the order


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_capped_logits_are_refused_by_the_export(name):
    with pytest.raises(WeightsError, match="logit_softcap=2.0 has no place"):
        export_weights(replace(TINY[name], logit_softcap=CAP).build())


@pytest.mark.parametrize("config", [TINY["gpt2"], TINY["qwen3"], BERT], ids=lambda c: c.kind)
def test_blocks_computed_again_give_the_same_bits_and_keep_less(config):
    model = random_weights(config.build(seed=1))
    inputs = tokens(2, 40)
    segments = torch.tensor([[1] * 25 + [2] * 15, [1] * 40])

    def gradients():
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        model.zero_grad()
        with saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model(inputs, segment_ids=segments).square().mean()
        loss.backward()
        return kept, [loss.detach(), *(p.grad.clone() for p in model.parameters())]

    kept, expected = gradients()
    model.recompute = True
    kept_less, found = gradients()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert kept_less < kept / 3
