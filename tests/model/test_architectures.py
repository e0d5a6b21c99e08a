"""Sizes, settings and initialisation."""

from dataclasses import replace

import pytest
import torch

from model.architectures import (
    GPT2Config,
    Initialization,
    LlamaConfig,
    Qwen3Config,
    model_config_from_dict,
    model_config_to_dict,
)
from model.errors import ContextLengthError
from model.layers import segment_positions, sinusoidal_positions
from model.rotary import Llama3RopeScaling
from tests.model.conftest import QWEN3, TINY, tokens


def test_parameter_counts_equal_the_published_ones():
    assert GPT2Config().num_parameters() == 124_439_808  # GPT-2 small
    assert GPT2Config(width=1600, layers=48, heads=25).num_parameters() == 1_557_611_200  # XL
    assert LlamaConfig().num_parameters() == 1_235_814_400  # Llama-3.2-1B
    assert Qwen3Config().num_parameters() == 596_049_920  # Qwen3-0.6B


def test_flops_per_token_equal_the_published_ones():
    gpt2 = GPT2Config(vocab_size=50304, bias=False)
    assert gpt2.flops_per_token() == pytest.approx(854.8e6, rel=5e-4)
    small = GPT2Config(vocab_size=8192, context_length=256, width=384, layers=6, heads=6)
    assert small.flops_per_token() == pytest.approx(89.7e6, rel=1e-3)


def test_model_counts_what_its_config_counts(config):
    assert config.build().num_parameters() == config.num_parameters()


def test_logits_have_one_row_per_position(model):
    assert model(tokens(2, 7)).shape == (2, 7, 97)


def test_same_seed_gives_same_weights_and_another_seed_others(family):
    first, again, other = family.build(seed=3), family.build(seed=3), family.build(seed=4)
    assert torch.equal(first.embedding.weight, again.embedding.weight)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, same) for one, same in pairs)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_zero_outputs_make_every_block_the_identity(family):
    model = replace(family, init=Initialization(zero_outputs=True)).build()
    inputs = tokens(1, 5)
    expected = model.embedding(inputs)
    if model.position_embedding is not None:
        expected = expected + model.position_embedding.weight[:5]
    assert torch.allclose(model.hidden(inputs), model.norm(expected))


def test_zero_head_starts_at_uniform_predictions():
    model = replace(QWEN3, tied_head=False, init=Initialization(head_std=0.0)).build()
    assert torch.equal(model(tokens(1, 5)), torch.zeros(1, 5, 97))


def test_config_survives_json(config):
    assert model_config_from_dict(model_config_to_dict(config)) == config


def test_config_with_scaling_survives_json():
    config = LlamaConfig(rope_scaling=Llama3RopeScaling())
    assert model_config_from_dict(model_config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "gpt3"}, "gpt3"),
        ({"kind": "gpt2", "widht": 768}, "widht"),
        ({"kind": "gpt2", "width": 0}, "at least 1"),
        ({"kind": "gpt2", "width": 100, "heads": 12}, "multiple"),
        ({"kind": "gpt2", "width": 12.5}, "type int"),
        ({"kind": "gpt2", "norm_epsilon": float("nan")}, "finite"),
        ({"kind": "llama", "heads": 6, "kv_heads": 4, "width": 48}, "kv_heads=4"),
        ({"kind": "qwen3", "head_width": 7}, "odd"),
        ({"kind": "qwen3", "hidden_act": "gelu"}, "hidden_act"),
        ({"kind": "llama", "rope_scaling": {"factr": 2.0}}, "factr"),
    ],
)
def test_bad_settings_are_refused_by_name(values, words):
    with pytest.raises(ValueError, match=words):
        model_config_from_dict(values)


def test_pydantic_validates_the_same_limits():
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(GPT2Config | LlamaConfig | Qwen3Config)
    assert adapter.validate_python({"kind": "gpt2", "width": 96, "heads": 4}).width == 96
    for values in ({"kind": "gpt2", "width": 0}, {"kind": "gpt2", "widht": 1}, {"kind": "gpt3"}):
        with pytest.raises(pydantic.ValidationError):
            adapter.validate_python(values)


def test_a_sequence_beyond_the_context_is_refused_with_the_limit(model):
    with pytest.raises(ContextLengthError, match="49 tokens exceed .*48"):
        model(tokens(1, 49))


def test_sinusoid_at_an_offset_is_a_linear_map():
    table = sinusoidal_positions(64, 16).double()
    moved = torch.zeros_like(table[:-5])
    for pair in range(8):  # each pair of columns is turned by 5 times its own frequency
        angle = torch.tensor(5.0 * 10_000.0 ** (-pair / 8)).double()
        sine, cosine = table[:-5, 2 * pair], table[:-5, 2 * pair + 1]
        moved[:, 2 * pair] = sine * angle.cos() + cosine * angle.sin()
        moved[:, 2 * pair + 1] = cosine * angle.cos() - sine * angle.sin()
    assert torch.allclose(moved, table[5:], atol=1e-5)
    assert torch.equal(table[0], torch.tensor([0.0, 1.0] * 8).double())


def test_positions_restart_with_every_segment():
    segments = torch.tensor([[1, 1, 2, 2, 2, 0], [5, 5, 5, 5, 6, 6]])
    assert segment_positions(segments).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 0, 1]]


def test_bfloat16_compute_keeps_float32_weights_and_stays_close(family):
    exact, fast = family.build(seed=1), family.build(seed=1, compute_dtype="bfloat16")
    inputs = tokens(2, 16)
    assert {p.dtype for p in fast.parameters()} == {torch.float32}
    assert fast.hidden(inputs).dtype == torch.bfloat16
    difference = (fast(inputs).float() - exact(inputs)).abs().mean() / exact(inputs).abs().mean()
    assert difference < 0.03


def test_every_variant_is_built(config):
    assert config in TINY.values()
