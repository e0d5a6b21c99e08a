"""A Hugging Face directory of ours as one GGUF file for llama.cpp, offline.

config.json        -> hyperparameters        GPT-2, Llama and Qwen3; an encoder is refused
model.safetensors  -> tensors                float32, or smaller
tokenizer.json     -> vocabulary, merges, the name of a split that llama.cpp knows

The package `gguf`, which llama.cpp's maintainers publish, knows the format and the names in it.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from model.errors import WeightsError
from model.huggingface_config import config_from_huggingface
from pipeline.serving.gguf_tokenizer import add_tokenizer
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json, replacing

Precision = Literal["f32", "f16", "bf16", "q8_0"]
BLOCK = 32  # values that share a scale in q8_0
Array = npt.NDArray[np.float32]


def export_gguf(hf: Path, target: Path, *, precision: Precision = "f32") -> int:
    """Write `target`; how many tensors it has.

    ConfigError for what llama.cpp has no form for, or without the package `gguf`; ArtifactError for
    a directory that is damaged. Matrices take `precision`, vectors stay float32; in q8_0 a matrix
    whose rows are no multiple of 32 wide is f16.
    """
    gguf = _package()
    document = read_json(hf / "config.json")
    try:
        config_from_huggingface(document)  # what is not ours to convert is refused by its name
    except WeightsError as error:
        raise ArtifactError(f"{hf} cannot be converted: {error}") from error
    kind = str(document["model_type"])
    if kind not in _SHAPES:
        raise ConfigError(
            f"{hf} holds a model of the kind {kind}; llama.cpp answers with {', '.join(_SHAPES)}"
        )
    _check(kind, document)
    architecture = {"gpt2": gguf.MODEL_ARCH.GPT2, "llama": gguf.MODEL_ARCH.LLAMA,
                    "qwen3": gguf.MODEL_ARCH.QWEN3}[kind]  # fmt: skip
    names = gguf.get_tensor_name_map(architecture, document[_SHAPES[kind]["layers"]])
    facts = read_json(hf / "gristmill.json") if (hf / "gristmill.json").is_file() else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with replacing(target) as temporary:
        writer = gguf.GGUFWriter(temporary, gguf.MODEL_ARCH_NAMES[architecture])
        writer.add_name(str(facts.get("name", hf.parent.name)))
        writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[precision]])
        _add_shape(writer, kind, document)
        add_tokenizer(gguf, writer, hf, facts, vocab_size=int(document["vocab_size"]))
        for name, tensor in _tensors(hf, kind, document):
            converted = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if converted is None:
                raise ArtifactError(f"{hf}: {name} has no place in a {kind} of llama.cpp")
            _add_tensor(gguf, writer, converted, tensor, precision)
            count += 1
        if (factors := _rope_factors(document)) is not None:
            writer.add_tensor("rope_freqs.weight", factors)
            count += 1
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return count


_FILE_TYPES: Mapping[Precision, str] = {
    "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0",
}  # fmt: skip
_SHAPES: Mapping[str, Mapping[str, str]] = {
    "gpt2": {
        "layers": "n_layer", "context": "n_positions", "width": "n_embd", "heads": "n_head",
    },
    **{
        kind: {
            "layers": "num_hidden_layers", "context": "max_position_embeddings",
            "width": "hidden_size", "heads": "num_attention_heads",
        }
        for kind in ("llama", "qwen3")
    },
}  # fmt: skip


def _package() -> ModuleType:
    try:
        import gguf  # optional: only those who use llama.cpp need it
    except ImportError as error:
        raise ConfigError('GGUF needs the package gguf: pip install "gristmill[gguf]"') from error
    module: ModuleType = gguf
    return module


def _check(kind: str, document: Mapping[str, Any]) -> None:
    """Refuse what llama.cpp would compute otherwise."""
    name, wanted = ("activation_function", "gelu_new") if kind == "gpt2" else ("hidden_act", "silu")
    if document[name] != wanted:
        raise ConfigError(
            f"{name}={document[name]!r} is not what llama.cpp computes for {kind}, which is "
            f"{wanted!r}; its answers would differ"
        )


def _add_shape(writer: Any, kind: str, document: Mapping[str, Any]) -> None:
    shape = {ours: int(document[theirs]) for ours, theirs in _SHAPES[kind].items()}
    writer.add_block_count(shape["layers"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_head_count(shape["heads"])
    writer.add_vocab_size(int(document["vocab_size"]))
    if kind == "gpt2":
        writer.add_feed_forward_length(int(document.get("n_inner") or 4 * shape["width"]))
        writer.add_layer_norm_eps(float(document["layer_norm_epsilon"]))
        return
    head = int(document["head_dim"])
    writer.add_head_count_kv(int(document["num_key_value_heads"]))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(document["rope_theta"]))
    writer.add_feed_forward_length(int(document["intermediate_size"]))
    writer.add_layer_norm_rms_eps(float(document["rms_norm_eps"]))


def _tensors(hf: Path, kind: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Tensors in llama.cpp's layout under transformers' names; a tied head only once."""
    for name, tensor in load_file(hf / "model.safetensors").items():
        if name == "lm_head.weight" and document.get("tie_word_embeddings"):
            continue
        value = tensor.astype(np.float32)
        if kind == "gpt2" and name.endswith(_TRANSPOSED):
            value = np.ascontiguousarray(value.T)
        if kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
            value = _interleaved(value, int(document[heads]))
        yield name, value


_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # transformers' Conv1D


def _interleaved(weight: Array, heads: int) -> Array:
    """(heads * K, D): halves of a head -> pairs, as llama.cpp rotates a Llama's."""
    pairs = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def _add_tensor(
    gguf: ModuleType, writer: Any, name: str, tensor: Array, precision: Precision
) -> None:
    if tensor.ndim == 1 or precision == "f32" or name.startswith("position_embd"):
        writer.add_tensor(name, tensor)
        return
    fits = tensor.shape[-1] % BLOCK == 0
    chosen = "f16" if precision == "q8_0" and not fits else precision
    kind = gguf.GGMLQuantizationType[chosen.upper()]
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def _rope_factors(document: Mapping[str, Any]) -> Array | None:
    """(K / 2,) what each frequency is divided by in Llama 3's scaling; None without it."""
    scaling = document.get("rope_parameters") or {}
    if scaling.get("rope_type", "default") != "llama3":
        return None
    head = int(document["head_dim"])
    factors = []
    for i in range(0, head, 2):
        wavelength = 2 * math.pi * float(document["rope_theta"]) ** (i / head)
        turns = scaling["original_max_position_embeddings"] / wavelength
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        # 1 keeps a frequency, 0 divides it by the whole factor.
        kept = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1 / ((1 - kept) / scaling["factor"] + kept))
    return np.array(factors, np.float32)
