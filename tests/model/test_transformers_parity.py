"""Our models against transformers on random weights: logits, losses, gradients, both directions."""

import json
import os
from dataclasses import replace

import pytest
import torch

os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402

from model.architectures import LlamaConfig  # noqa: E402
from model.generate import generate  # noqa: E402
from model.huggingface import export_weights, import_weights  # noqa: E402
from model.loss import nll_sum  # noqa: E402
from model.rotary import Llama3RopeScaling  # noqa: E402
from tests.model.conftest import LLAMA, random_weights, tokens  # noqa: E402


def exported(model, directory):
    config, tensors = export_weights(model)
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def loaded(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(directory).eval()


@pytest.fixture
def theirs(model, tmp_path):
    return loaded(exported(model, tmp_path / "hf"))


def test_exported_model_has_the_same_logits(model, theirs):
    inputs = tokens(2, 40)
    difference = (theirs(inputs).logits - model(inputs)).abs().max().item()
    scale = model(inputs).abs().max().item()
    assert difference <= 2e-6 * max(1.0, scale), f"{difference} at logits up to {scale}"


def largest_gradient_difference(ours, theirs):
    """Over every parameter both have, each as the exporter writes it; and how many there are."""
    gradient_model = ours.config.build()  # gradients take the weights' way through export
    with torch.no_grad():
        for target, source in zip(gradient_model.parameters(), ours.parameters(), strict=True):
            target.copy_(source.grad)
    _, gradients = export_weights(gradient_model)
    differences = {}
    for name, parameter in theirs.named_parameters():
        if name in gradients and parameter.grad is not None:
            if name.endswith("bias") and not gradients[name].any():
                continue  # a bias we do not have
            if name == "transformer.wpe.weight" and ours.position_embedding is None:
                continue  # fixed sinusoids have no gradient
            differences[name] = (parameter.grad - gradients[name]).abs().max().item()
    return max(differences.values()), len(differences)


def next_token_loss(model, inputs):
    total, count = nll_sum(
        model.hidden(inputs[:, :-1]), model.head_weight, inputs[:, 1:],
        torch.ones(len(inputs), inputs.shape[1] - 1),
    )  # fmt: skip
    return total / count


def test_loss_and_gradients_equal_theirs(model, theirs):
    inputs = tokens(2, 40)
    expected = theirs(inputs, labels=inputs).loss
    expected.backward()
    loss = next_token_loss(model, inputs)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    largest, compared = largest_gradient_difference(model, theirs)
    assert largest <= 1e-5 and compared >= 14


def test_imported_model_has_their_loss_and_gradients(theirs, tmp_path):
    """The other way round: weights that transformers wrote, read by us."""
    theirs.save_pretrained(tmp_path / "again")
    ours = import_weights(tmp_path / "again")
    inputs = tokens(2, 40, seed=3)
    expected = theirs(inputs, labels=inputs).loss
    expected.backward()
    loss = next_token_loss(ours, inputs)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    largest, compared = largest_gradient_difference(ours, theirs)
    assert largest <= 1e-5 and compared >= 14


def test_greedy_continuation_equals_theirs(model, theirs):
    prompt = tokens(1, 6)
    expected = theirs.generate(
        prompt, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert generate(model, prompt.tolist(), 20) == expected[:, 6:].tolist()


def test_import_of_what_they_save_has_the_same_logits(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "again")
    inputs = tokens(2, 40)
    ours = import_weights(tmp_path / "again")(inputs)
    expected = theirs(inputs).logits
    assert (ours - expected).abs().max() <= 2e-6 * max(1.0, expected.abs().max().item())


def test_import_of_shards_equals_import_of_one_file(family_model, tmp_path):
    theirs = loaded(exported(family_model, tmp_path / "hf"))
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    inputs = tokens(1, 20)
    assert torch.allclose(import_weights(tmp_path / "shards")(inputs), family_model(inputs))


def test_export_then_import_is_the_identity(family_model, tmp_path):
    again = import_weights(exported(family_model, tmp_path / "hf"))
    expected = family_model.state_dict()
    assert set(again.state_dict()) == set(expected)
    assert all(torch.equal(t, expected[name]) for name, t in again.state_dict().items())
    default_init = type(family_model.config.init)()
    assert replace(family_model.config, init=default_init) == replace(
        again.config, init=default_init, **_head_width(family_model.config)
    )


def _head_width(config):
    """Export spells the head width out."""
    return (
        {"head_width": config.head_width}
        if hasattr(config, "head_width")
        else ({"hidden_width": config.hidden_width})
    )


def test_llama3_scaling_equals_theirs(tmp_path):
    scaling = Llama3RopeScaling(factor=8.0, original_context_length=16)
    model = random_weights(replace(LLAMA, rope_scaling=scaling).build(seed=1))
    theirs = loaded(exported(model, tmp_path / "hf"))
    inputs = tokens(1, 40)
    plain = random_weights(LLAMA.build(seed=1))
    assert (theirs(inputs).logits - model(inputs)).abs().max() <= 2e-5
    assert (plain(inputs) - model(inputs)).abs().max() > 1e-2
    theirs.save_pretrained(tmp_path / "again")
    assert import_weights(tmp_path / "again").config.rope_scaling == scaling


def test_config_carries_both_spellings():
    config, _ = export_weights(LLAMA.build())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000.0
    assert config["dtype"] == config["torch_dtype"] == "float32"


def test_published_shape_is_read_from_the_published_config():
    from model.huggingface_config import config_from_huggingface

    published = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0", "use_cache": True, "vocab_size": 128256,
    }  # fmt: skip
    config = config_from_huggingface(published)
    assert config == LlamaConfig(
        context_length=131072, head_width=64, rope_scaling=Llama3RopeScaling()
    )
    assert config.num_parameters() == 1_235_814_400
