"""To and from the layouts of Hugging Face transformers, so that models load without our code.

    LanguageModel --export_weights--> (config.json as a dict, named tensors)
    directory with config.json and model.safetensors (or its sharded index) --import_weights--> ours

GPT-2 stores linear maps transposed (Conv1D) and query, key, value joined; the others are a rename.
Only safetensors are read: `.bin`, `.pt`, `.h5` and pickles can run code when they are loaded.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.architectures import BertConfig, GPT2Config, LlamaConfig, Qwen3Config, T5Config
from model.checkpoint_io import load_tensors, load_weights, refuse_larger
from model.errors import WeightsError
from model.huggingface_bert import bert_names, from_bert
from model.huggingface_config import config_from_huggingface, config_to_huggingface
from model.huggingface_t5 import from_t5, t5_names
from model.language_model import ArchitectureConfig, ComputeDtype, LanguageModel

_REFUSED = (
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.ckpt.*", "*.h5", "*.pb", "*.msgpack", "*.pkl", "*.npz",
    "*.gguf",
)  # fmt: skip

# ours -> theirs, within `blocks.N.` -> `model.layers.N.`
_LLAMA_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_LLAMA_TOP = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
# The same for GPT-2, within `blocks.N.` -> `transformer.h.N.`; the second is stored transposed.
_GPT2_NORM = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}
_GPT2_CONV1D = {
    "attention.output": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
_QKV = ("attention.query", "attention.key", "attention.value")


def export_weights(model: LanguageModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`config.json` as a dict, and the state dict under transformers' names, float32, on the CPU.

    Loads with `GPT2LMHeadModel`, `LlamaForCausalLM`, `Qwen3ForCausalLM`, `BertForMaskedLM`,
    `T5ForConditionalGeneration` or, for classifiers, `BertForSequenceClassification` and
    `BertForTokenClassification`. The ids of special tokens are the tokenizer's to add. A biasless
    GPT-2 is exported with biases of zero, fixed sinusoids as a position table: the logits are the
    same. WeightsError for a soft cap of the logits, which none of these families has.
    """
    config = config_to_huggingface(model.config)
    own = {name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()}
    if isinstance(model.config, GPT2Config):
        if model.position_table is not None:
            own["position_embedding.weight"] = model.position_table.float().cpu()
        return config, _to_gpt2(model.config, own)
    if isinstance(model.config, BertConfig):
        names = bert_names(model.config)
    elif isinstance(model.config, T5Config):
        names = t5_names(model.config)
    else:
        names = _llama_names(model.config)
    return config, {names[name]: tensor for name, tensor in own.items()}


def import_weights(
    directory: Path | str,
    *,
    device: torch.device | str = "cpu",
    compute_dtype: ComputeDtype = "float32",
) -> LanguageModel:
    """The model of a Hugging Face directory: GPT-2, Llama, Qwen3, BERT or T5, weights float32.

    Raises WeightsError for a missing or refused file, an unsupported setting or a misfit.
    """
    directory = Path(directory)
    config = config_from_huggingface(_read_json(directory / "config.json"))
    tensors = _read_weights(directory)
    refuse_larger(config, tensors, where=str(directory))
    model = config.build_empty(device=device, compute_dtype=compute_dtype)
    where = str(directory)
    if isinstance(config, GPT2Config):
        own = _from_gpt2(config, tensors, where)
    elif isinstance(config, BertConfig):
        own = from_bert(config, tensors, where)
    elif isinstance(config, T5Config):
        own = from_t5(config, tensors, where)
    else:
        ours = {theirs: name for name, theirs in _llama_names(config).items()}
        own = {ours.get(name, name): tensor for name, tensor in tensors.items()}
        if config.tied_head:
            own.pop("lm_head.weight", None)  # some writers store the tied head a second time
    own = {name: t for name, t in own.items() if not name.endswith("rotary_emb.inv_freq")}
    load_weights(model, own, where=where)
    return model


def _llama_names(config: ArchitectureConfig) -> dict[str, str]:
    """Our parameter names -> theirs."""
    assert isinstance(config, LlamaConfig | Qwen3Config)
    norms = ("attention.query_norm", "attention.key_norm")
    parts = {
        ours: theirs
        for ours, theirs in _LLAMA_BLOCK.items()
        if isinstance(config, Qwen3Config) or ours not in norms
    }
    names = {
        f"blocks.{layer}.{ours}.weight": f"model.layers.{layer}.{theirs}.weight"
        for layer in range(config.layers)
        for ours, theirs in parts.items()
    }
    top = {o: t for o, t in _LLAMA_TOP.items() if not (config.tied_head and o == "head.weight")}
    return {**top, **names}


def _to_gpt2(config: GPT2Config, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def bias(name: str, width: int) -> Tensor:
        return own.get(f"{name}.bias", torch.zeros(width))

    theirs = {
        "transformer.wte.weight": own["embedding.weight"],
        "transformer.wpe.weight": own["position_embedding.weight"],
        "transformer.ln_f.weight": own["norm.weight"],
        "transformer.ln_f.bias": bias("norm", config.width),
    }
    if not config.tied_head:
        theirs["lm_head.weight"] = own["head.weight"]
    for layer in range(config.layers):
        ours, their = f"blocks.{layer}.", f"transformer.h.{layer}."
        for name, target in _GPT2_NORM.items():
            theirs[f"{their}{target}.weight"] = own[f"{ours}{name}.weight"]
            theirs[f"{their}{target}.bias"] = bias(f"{ours}{name}", config.width)
        joined = torch.cat([own[f"{ours}{name}.weight"] for name in _QKV])  # (3D, D)
        theirs[f"{their}attn.c_attn.weight"] = joined.t().contiguous()  # (D, 3D)
        theirs[f"{their}attn.c_attn.bias"] = torch.cat(
            [bias(f"{ours}{name}", config.width) for name in _QKV]
        )
        for name, target in _GPT2_CONV1D.items():
            weight = own[f"{ours}{name}.weight"]
            theirs[f"{their}{target}.weight"] = weight.t().contiguous()
            theirs[f"{their}{target}.bias"] = bias(f"{ours}{name}", len(weight))
    return theirs


def _from_gpt2(config: GPT2Config, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    # The released files lack the prefix `transformer.` and carry each layer's causal mask.
    theirs = {
        name.removeprefix("transformer."): tensor
        for name, tensor in tensors.items()
        if not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    own: dict[str, Tensor] = {}

    def take(name: str) -> Tensor:
        try:
            return theirs.pop(name)
        except KeyError as error:
            raise WeightsError(f"{where} lacks the weight {name} of GPT-2") from error

    own["embedding.weight"], own["position_embedding.weight"] = (
        take("wte.weight"),
        take("wpe.weight"),
    )
    own["norm.weight"], own["norm.bias"] = take("ln_f.weight"), take("ln_f.bias")
    if config.tied_head:
        theirs.pop("lm_head.weight", None)
    else:
        own["head.weight"] = take("lm_head.weight")
    for layer in range(config.layers):
        ours, their = f"blocks.{layer}.", f"h.{layer}."
        for name, target in _GPT2_NORM.items():
            for kind in ("weight", "bias"):
                own[f"{ours}{name}.{kind}"] = take(f"{their}{target}.{kind}")
        weight, bias = take(f"{their}attn.c_attn.weight"), take(f"{their}attn.c_attn.bias")
        if weight.shape != (config.width, 3 * config.width):
            raise WeightsError(
                f"{where}: {their}attn.c_attn.weight has the shape {tuple(weight.shape)}; GPT-2 "
                f"stores it as Conv1D, ({config.width}, {3 * config.width}): save the transpose"
            )
        for i, name in enumerate(_QKV):
            part = slice(i * config.width, (i + 1) * config.width)
            own[f"{ours}{name}.weight"] = weight[:, part].t()
            own[f"{ours}{name}.bias"] = bias[part]
        for name, target in _GPT2_CONV1D.items():
            own[f"{ours}{name}.weight"] = take(f"{their}{target}.weight").t()
            own[f"{ours}{name}.bias"] = take(f"{their}{target}.bias")
    if theirs:
        raise WeightsError(f"{where} has weights GPT-2 does not: {', '.join(sorted(theirs)[:3])}")
    return own


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except NotADirectoryError as error:
        raise WeightsError(
            f"{path.parent} is a file; point at the Hugging Face directory that holds config.json "
            "and the weights as safetensors"
        ) from error
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; point at a Hugging Face model directory") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WeightsError(f"{path} holds a {type(document).__name__}, expected a JSON object")
    return document


def _read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of `model.safetensors`, or of the shards its index names."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return load_tensors(single)
    if not index.is_file():
        refused = sorted(path.name for pattern in _REFUSED for path in directory.glob(pattern))
        if refused:
            raise WeightsError(
                f"{directory} holds its weights as {refused[0]}, a format that can run code when "
                f"read or that we do not read; save them as safetensors, for example with "
                f"transformers' save_pretrained on a machine you trust them on"
            )
        raise WeightsError(f"{directory} has neither model.safetensors nor its sharded index")
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(f"{index} lacks the object weight_map")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise WeightsError(f"{index} names the shard {shard!r}; expected NAME.safetensors")
        tensors.update(load_tensors(directory / shard))
    missing = sorted(set(weight_map) - set(tensors))
    if missing:
        raise WeightsError(f"{index} lists {missing[0]}, which is in none of its shards")
    return tensors
