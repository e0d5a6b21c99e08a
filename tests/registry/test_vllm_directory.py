"""What vLLM reads of a Hugging Face directory is there, in the form it documents; it is not run.

docs.vllm.ai: "Integration with Hugging Face" (config.json, tokenizer, weights, generation_config)
and "Supported Models" (the names of architectures).
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from model.architectures import GPT2Config, LlamaConfig, Qwen3Config
from model.huggingface import export_weights
from pipeline.artifacts import ExportedModel
from tests.registry.worlds import World

SUPPORTED = {"GPT2LMHeadModel", "LlamaForCausalLM", "Qwen3ForCausalLM"}
SHAPE = {"vocab_size": 64, "context_length": 32, "width": 32, "layers": 1, "heads": 2}


@pytest.fixture(params=["continue", "answer"])
def exported(world: World, request: pytest.FixtureRequest) -> ExportedModel:
    checkpoint = world.base()
    if request.param == "answer":
        checkpoint = world.tuned(checkpoint)
    return world.exported(checkpoint, world.report(checkpoint, world.eval_set(), bits=1.5))


def test_directory_has_all_that_vllm_reads(exported: ExportedModel) -> None:
    hf = exported.hf_path
    document = json.loads((hf / "config.json").read_text())
    assert set(document["architectures"]) <= SUPPORTED and "auto_map" not in document
    config = AutoConfig.from_pretrained(hf)
    tokenizer = AutoTokenizer.from_pretrained(hf)
    assert tokenizer.is_fast and len(tokenizer) <= config.vocab_size
    assert tokenizer.model_max_length == config.max_position_embeddings
    settings = GenerationConfig.from_pretrained(hf)
    assert tokenizer.eos_token_id in settings.eos_token_id
    template = hf / "chat_template.jinja"
    assert template.is_file() == (exported.facts["prompt_form"] == "answer")
    assert bool(tokenizer.chat_template) == template.is_file()


def test_one_file_of_weights_needs_no_index_and_names_every_tensor(
    exported: ExportedModel,
) -> None:
    assert [path.name for path in exported.hf_path.glob("*.safetensors*")] == ["model.safetensors"]
    stored = load_file(exported.hf_path / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(exported.hf_path)
    expected = model.state_dict()
    if model.config.tie_word_embeddings:
        del expected["lm_head.weight"]  # the embedding is stored once
    assert {name: value.shape for name, value in stored.items()} == {
        name: value.shape for name, value in expected.items()
    }
    assert {value.dtype for value in stored.values()} == {torch.float32}


@pytest.mark.parametrize(
    "config",
    [GPT2Config(**SHAPE, hidden_width=128), LlamaConfig(**SHAPE, kv_heads=1, hidden_width=64),
     Qwen3Config(**SHAPE, kv_heads=1, head_width=16, hidden_width=64)],
)  # fmt: skip
def test_every_architecture_has_a_name_that_vllm_knows(
    config: GPT2Config | LlamaConfig | Qwen3Config, tmp_path: Path
) -> None:
    document, _ = export_weights(config.build(seed=0))
    assert set(document["architectures"]) <= SUPPORTED
    (tmp_path / "config.json").write_text(json.dumps(document))
    known = AutoConfig.from_pretrained(tmp_path)
    assert known.max_position_embeddings == SHAPE["context_length"]
