"""Groups, rates, Muon's orthogonal updates, state that comes back."""

import pytest
import torch

from model.errors import WeightsError
from model.loss import nll_sum
from model.muon import BatchedMuon
from model.optim import (
    AdamWConfig,
    MuonConfig,
    build_optimizer,
    optimizer_from_dict,
    parameter_groups,
)
from model.settings import settings_to_dict
from tests.model.conftest import LLAMA, QWEN3, tokens

BOTH = [AdamWConfig(), MuonConfig()]


def train(model, optimizer, steps, start=0):
    losses = []
    for step in range(start, start + steps):
        inputs = tokens(2, 16, seed=step % 2)
        total, count = nll_sum(
            model.hidden(inputs[:, :-1]), model.head_weight, inputs[:, 1:], torch.ones(2, 15)
        )
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((total / count).item())
    return losses


@pytest.mark.parametrize("optimizer_config", BOTH)
def test_groups_partition_all_parameters(config, optimizer_config):
    model = config.build()
    optimizer = build_optimizer(model, optimizer_config)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}


def test_roles_are_as_documented():
    groups = parameter_groups(LLAMA.build())
    names = {role: {name for name, _ in group} for role, group in groups.items()}
    assert names["embedding"] == {"embedding.weight"}
    assert names["head"] == {"head.weight"}
    assert "blocks.1.attention.query.weight" in names["matrix"]
    assert len(names["matrix"]) == 2 * 7
    assert all("norm" in name for name in names["vector"])


def test_only_matrices_and_head_decay(config):
    optimizer = build_optimizer(config.build(), AdamWConfig(weight_decay=0.3))
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.3 if group["role"] in ("matrix", "head") else 0.0)
        assert all(p.ndim == 2 or group["role"] == "vector" for p in group["params"])


@pytest.mark.parametrize("optimizer_config", BOTH)
def test_training_lowers_the_loss(config, optimizer_config):
    model = config.build()
    losses = train(model, build_optimizer(model, optimizer_config), 30)
    assert losses[-1] < 0.6 * losses[0]


def test_muon_updates_are_nearly_orthogonal():
    model = QWEN3.build()
    optimizer = build_optimizer(model, MuonConfig(learning_rate=1.0, weight_decay=0.0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, optimizer, 1)
    for name, parameter in parameter_groups(model)["matrix"]:
        update = before[name] - parameter.detach()
        scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
        values = torch.linalg.svdvals(update / scale)
        # Five quintic steps leave the singular values between 0.5 and 1.5, none near zero.
        assert 0.3 < values.median().item() < 1.5, name
        assert values.max().item() < 1.5, name


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_batched_muon_is_torchs_muon(adjust):
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 24), (40, 24), (24, 40), (24, 24), (40, 24)]
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    theirs = [parameter.detach().clone().requires_grad_() for parameter in ours]
    settings = {"lr": 0.05, "weight_decay": 0.1, "momentum": 0.9, "adjust_lr_fn": adjust}
    one, other = BatchedMuon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=0.01)  # bfloat16 products in another order
        assert torch.equal(one.state[a]["momentum_buffer"], other.state[b]["momentum_buffer"])


def test_factor_scales_every_full_rate():
    optimizer = build_optimizer(QWEN3.build(), MuonConfig(learning_rate=0.02))
    optimizer.set_factor(0.25)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(0.25 * group["full_lr"])
    assert optimizer.learning_rate == pytest.approx(0.005)


@pytest.mark.parametrize("optimizer_config", BOTH)
def test_state_comes_back_bit_for_bit(optimizer_config):
    straight = QWEN3.build()
    expected = train(straight, build_optimizer(straight, optimizer_config), 6)

    first = QWEN3.build()
    optimizer = build_optimizer(first, optimizer_config)
    train(first, optimizer, 3)
    saved = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    weights = {name: tensor.clone() for name, tensor in first.state_dict().items()}

    second = QWEN3.build(seed=9)
    second.load_state_dict(weights)
    resumed = build_optimizer(second, optimizer_config)
    resumed.load_state_tensors(saved)
    assert train(second, resumed, 3, start=3) == expected[3:]
    for one, other in zip(straight.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_state_of_another_model_is_refused():
    optimizer = build_optimizer(QWEN3.build(), AdamWConfig())
    with pytest.raises(WeightsError, match="belongs to no parameter"):
        optimizer.load_state_tensors({"nowhere.weight/exp_avg": torch.zeros(2)})
    with pytest.raises(WeightsError, match="shape"):
        optimizer.load_state_tensors({"embedding.weight/exp_avg": torch.zeros(2)})


@pytest.mark.parametrize("optimizer_config", BOTH)
def test_config_survives_json(optimizer_config):
    assert optimizer_from_dict(settings_to_dict(optimizer_config)) == optimizer_config


def test_limits_are_named():
    with pytest.raises(ValueError, match=r"betas=\(0.9, 1.0\) must be less than 1.0"):
        AdamWConfig(betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="learning_rate=0"):
        MuonConfig(learning_rate=0)
