"""What an import refuses, and the two forms in which GPT-2 was released. No transformers here."""

import json

import pytest
import torch
from safetensors.torch import save_file

from model.errors import WeightsError
from model.huggingface import export_weights, import_weights
from tests.model.conftest import GPT2, LLAMA, random_weights, tokens


def write(directory, config, tensors):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, directory / "model.safetensors")
    return directory


@pytest.fixture
def gpt2():
    return random_weights(GPT2.build(seed=1))


def test_released_gpt2_without_prefix_and_with_masks_loads(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    released = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for layer in range(2):
        released[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 48, 48).tril()
    config |= {"task_specific_params": {"text-generation": {"do_sample": True}}, "n_inner": None}
    inputs = tokens(1, 20)
    again = import_weights(write(tmp_path / "hf", config, released))
    assert torch.equal(again(inputs), gpt2(inputs))


def test_half_precision_weights_become_float32(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    again = import_weights(write(tmp_path / "hf", config, halves))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model.pt", "tf_model.h5", "weights.pkl", "model.ckpt.index",
     "saved_model.pb"],
)  # fmt: skip
def test_formats_that_can_run_code_are_refused_unread(tmp_path, name):
    config, _ = export_weights(GPT2.build())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(WeightsError, match=rf"{name}.*safetensors"):
        import_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "mistral"}, "mistral"),
        ({"activation_function": "relu"}, "activation_function='relu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"new_trick": 3}, "new_trick=3"),
        ({"n_embd": 33}, "multiple"),
        ({"n_embd": None}, "lacks n_embd"),
    ],
)
def test_unsupported_gpt2_settings_are_named(gpt2, tmp_path, change, words):
    config, tensors = export_weights(gpt2)
    with pytest.raises(WeightsError, match=words):
        import_weights(write(tmp_path / "hf", config | change, tensors))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "factor"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"num_hidden_layers": 3}, "lacks blocks.2"),
        ({"vocab_size": 98}, "shape"),
    ],
)
def test_unsupported_llama_settings_are_named(tmp_path, change, words):
    config, tensors = export_weights(LLAMA.build())
    with pytest.raises(WeightsError, match=words):
        import_weights(write(tmp_path / "hf", config | change, tensors))


def test_missing_truncated_and_escaping_files_are_named(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    with pytest.raises(WeightsError, match="config.json is missing"):
        import_weights(tmp_path)
    directory = write(tmp_path / "hf", config, tensors)
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        import_weights(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="neither"):
        import_weights(directory)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(WeightsError, match="secret"):
        import_weights(directory)
    (directory / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not JSON"):
        import_weights(directory)


def test_missing_and_surplus_weights_are_named(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    lost = {n: t for n, t in tensors.items() if n != "transformer.h.1.mlp.c_fc.bias"}
    with pytest.raises(WeightsError, match="h.1.mlp.c_fc.bias"):
        import_weights(write(tmp_path / "a", config, lost))
    more = {**tensors, "transformer.h.2.ln_1.weight": torch.ones(32)}
    with pytest.raises(WeightsError, match="h.2.ln_1.weight"):
        import_weights(write(tmp_path / "b", config, more))


def test_maps_that_are_not_stored_as_conv1d_are_named(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    turned = {n: t.t() if n.endswith("c_attn.weight") else t for n, t in tensors.items()}
    with pytest.raises(WeightsError, match=r"c_attn.weight has the shape \(96, 32\).*Conv1D"):
        import_weights(write(tmp_path / "hf", config, turned))


def test_a_file_instead_of_its_directory_is_named(gpt2, tmp_path):
    config, tensors = export_weights(gpt2)
    directory = write(tmp_path / "hf", config, tensors)
    with pytest.raises(WeightsError, match="is a file; point at the Hugging Face directory"):
        import_weights(directory / "model.safetensors")
