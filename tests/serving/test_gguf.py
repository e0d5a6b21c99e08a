"""The GGUF file holds every tensor and token, where llama.cpp looks for them."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from model.architectures import GPT2Config, LlamaConfig
from model.checkpoint_io import save_tensors
from model.huggingface import export_weights
from model.language_model import LanguageModel
from pipeline.serving.gguf_export import export_gguf
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.patterns import PATTERNS, PatternName
from pipeline.tokens.tokenizer import Tokenizer, with_our_specials


def words(pattern: PatternName = "cl100k") -> Tokenizer:
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b"the": 257}
    return with_our_specials("small", PATTERNS[pattern], ranks)


def directory(model: LanguageModel, folder: Path, tokenizer: Tokenizer) -> Path:
    """`model` as a Hugging Face directory of a base model."""
    folder.mkdir()
    config, tensors = export_weights(model)
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos}
    write_json(folder / "config.json", {**config, **ids})
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})
    write_huggingface(tokenizer, folder)
    return folder


def llama(**more: object) -> LanguageModel:
    settings = {"vocab_size": 272, "context_length": 32, "width": 32, "layers": 2, "heads": 4,
                "kv_heads": 2, "hidden_width": 64}  # fmt: skip
    return LlamaConfig(**(settings | more)).build(seed=1)


def test_every_tensor_and_token_is_in_the_file(tmp_path: Path) -> None:
    tokenizer = words()
    hf = directory(llama(), tmp_path / "hf", tokenizer)
    count = export_gguf(hf, tmp_path / "model.gguf")
    read = gguf.GGUFReader(tmp_path / "model.gguf")
    assert len(read.tensors) == count == len(export_weights(llama())[1])
    tokens = [field for field in read.get_field("tokenizer.ggml.tokens").contents()]
    assert len(tokens) == 272 and tokens[257] == "the"
    assert read.get_field("tokenizer.ggml.merges").contents() == ["t h", "th e"]
    kinds = read.get_field("tokenizer.ggml.token_type").contents()
    assert {i for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL} == set(
        tokenizer.specials.values()
    )
    assert kinds[-1] == gguf.TokenType.UNUSED
    assert read.get_field("tokenizer.ggml.add_bos_token").contents() is True


def test_rows_of_a_llamas_queries_are_paired_for_its_rotation(tmp_path: Path) -> None:
    model = llama()
    export_gguf(directory(model, tmp_path / "hf", words()), tmp_path / "model.gguf")
    found = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    query = export_weights(model)[1]["model.layers.0.self_attn.q_proj.weight"].numpy()
    # Head 0 has 8 rows: 0, 4, 1, 5, 2, 6, 3, 7.
    assert np.array_equal(found["blk.0.attn_q.weight"][:8], query[[0, 4, 1, 5, 2, 6, 3, 7]])
    value = export_weights(model)[1]["model.layers.0.self_attn.v_proj.weight"].numpy()
    assert np.array_equal(found["blk.0.attn_v.weight"], value)


@pytest.mark.parametrize(
    ("precision", "error"), [("f32", 0.0), ("f16", 1e-3), ("bf16", 1e-2), ("q8_0", 1e-2)]
)
def test_weights_come_back_as_exact_as_their_precision(
    tmp_path: Path, precision: str, error: float
) -> None:
    model = llama()
    export_gguf(
        directory(model, tmp_path / "hf", words()), tmp_path / "m.gguf", precision=precision
    )  # type: ignore[arg-type]
    tensor = next(
        t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "blk.0.ffn_up.weight"
    )
    back = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    up = export_weights(model)[1]["model.layers.0.mlp.up_proj.weight"].numpy()
    assert np.abs(back - up).max() <= error * np.abs(up).max()


def test_gpt2_is_transposed(tmp_path: Path) -> None:
    model = GPT2Config(
        vocab_size=272, context_length=32, width=32, layers=1, heads=2, hidden_width=128
    ).build(seed=1)  # fmt: skip
    export_gguf(directory(model, tmp_path / "hf", words("gpt2")), tmp_path / "m.gguf")
    found = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert found["blk.0.attn_qkv.weight"].shape == (96, 32)
    assert found["blk.0.ffn_up.weight"].shape == (128, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"hidden_act": "gelu"}, "gelu"), ({"model_type": "mamba"}, "mamba")],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    hf = directory(llama(), tmp_path / "hf", words())
    config = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(Exception, match=message):
        export_gguf(hf, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_split_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    hf = directory(llama(), tmp_path / "hf", words("han"))
    with pytest.raises(ConfigError, match="no split like this"):
        export_gguf(hf, tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"], "nothing half written is left"


def test_scaled_rotation_gets_its_factors(tmp_path: Path) -> None:
    from model.rotary import Llama3RopeScaling

    scaling = Llama3RopeScaling(factor=8.0, original_context_length=16)
    model = llama(rope_scaling=scaling)
    export_gguf(directory(model, tmp_path / "hf", words()), tmp_path / "m.gguf")
    found = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    factors = torch.from_numpy(found["rope_freqs.weight"])
    assert factors.shape == (4,)
    assert (factors >= 1).all() and (factors <= 8).all() and factors[-1] == 8
