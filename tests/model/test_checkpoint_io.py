"""Weights and architecture come back bit for bit, or the misfit is named."""

import json

import pytest
import torch

from model.checkpoint_io import load_model, load_tensors, save_model, save_tensors
from model.errors import WeightsError
from tests.model.conftest import tokens


def test_saved_model_comes_back_bit_for_bit(model, tmp_path):
    save_model(model, tmp_path / "final")
    again = load_model(tmp_path / "final")
    assert again.config == model.config
    inputs = tokens(2, 20)
    assert torch.equal(again(inputs), model(inputs))


def test_same_weights_give_the_same_bytes(family, tmp_path):
    for name in ("a", "b"):
        save_model(family.build(seed=5), tmp_path / name)
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_nothing_temporary_is_left(family_model, tmp_path):
    save_model(family_model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "state.safetensors"
    save_tensors({"a": torch.ones(3)}, path)
    with pytest.raises(Exception):  # noqa: B017 whatever the writer says about a non-tensor
        save_tensors({"a": torch.ones(3), "b": torch.ones(2).to_sparse()}, path)
    assert load_tensors(path)["a"].tolist() == [1.0, 1.0, 1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_damage_is_named(family_model, tmp_path):
    with pytest.raises(WeightsError, match="model.json is missing"):
        load_model(tmp_path)
    save_model(family_model, tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="truncated"):
        load_model(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "model.json").write_text(json.dumps(document | {"layers": 3}))
    with pytest.raises(WeightsError, match="another architecture"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(document | {"context_length": 0}))
    with pytest.raises(WeightsError, match="context_length=0"):
        load_model(tmp_path)
