"""Low-rank adaptation: identity at the start, few numbers trained, merging changes nothing."""

import pytest
import torch

from model.architectures import AnyModel
from model.gpt2 import GPT2Config
from model.llama import LlamaConfig
from model.lora import LoraConfig, add_lora, largest_rank, merge_lora
from model.optim import AdamWConfig, AnyOptimizer, MuonConfig, build_optimizer
from model.qwen3 import Qwen3Config

SHAPE = {"vocab_size": 61, "context_length": 16, "width": 32, "layers": 2, "heads": 4}
MODELS = [GPT2Config(**SHAPE), LlamaConfig(**SHAPE, kv_heads=2), Qwen3Config(**SHAPE, kv_heads=2)]
LORA = LoraConfig(rank=4, alpha=8.0)


def inputs() -> torch.Tensor:
    return torch.randint(0, 61, (3, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
def test_lora_starts_as_exactly_the_base_model(config: AnyModel):
    model = config.build(seed=0)
    before = model(inputs())
    add_lora(model, LORA, seed=0)
    assert torch.equal(model(inputs()), before)


@pytest.mark.parametrize("optimizer", [AdamWConfig(learning_rate=0.05), MuonConfig()])
@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
def test_only_the_low_rank_factors_are_trained(config: AnyModel, optimizer: AnyOptimizer):
    model = config.build(seed=0)
    frozen = {name: p.clone() for name, p in model.named_parameters()}
    trained = add_lora(model, LORA, seed=0)
    stepper = build_optimizer(model, optimizer)
    for _ in range(2):  # A has no gradient while B is zero
        stepper.zero_grad()
        model(inputs()).square().mean().backward()
        stepper.step()
    changed = 0
    for name, parameter in model.named_parameters():
        original = name.replace("parametrizations.weight.original", "weight")
        if original in frozen:
            assert parameter.grad is None
            assert torch.equal(parameter, frozen[original])
        else:
            changed += parameter.numel()
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert changed == trained


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
def test_merged_model_equals_the_unmerged_one_and_has_its_names(config: AnyModel):
    model = config.build(seed=0)
    names = list(model.state_dict())
    add_lora(model, LORA, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():  # the same kernels on both sides
        unmerged = model(inputs())
        merge_lora(model)
        assert torch.equal(model(inputs()), unmerged)
    assert sorted(model.state_dict()) == sorted(names)
    assert not torch.equal(unmerged, config.build(seed=0)(inputs()))


def test_the_update_is_the_formula():
    model = LlamaConfig(**SHAPE, kv_heads=2).build(seed=0)
    query = model.blocks[0].attention.query
    before = query.weight.clone()
    add_lora(model, LORA, seed=0)
    low_rank = query.parametrizations.weight[0]
    with torch.no_grad():
        low_rank.b.fill_(0.5)
    expected = before + (8.0 / 4) * torch.full((32, 4), 0.5) @ low_rank.a
    assert torch.allclose(query.weight, expected, atol=1e-6)


def test_largest_rank_is_the_smallest_side():
    assert largest_rank(LlamaConfig(**SHAPE, kv_heads=1).build_empty(device="meta")) == 8


def test_same_seed_draws_the_same_factors():
    drawn = []
    for _ in range(2):
        model = LlamaConfig(**SHAPE, kv_heads=2).build(seed=0)
        add_lora(model, LORA, seed=5)
        drawn.append(model.blocks[1].feed_forward.down.parametrizations.weight[0].a)
    assert torch.equal(*drawn)
