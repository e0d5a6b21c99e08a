"""`config.json` of transformers <-> our architecture settings.

Every key of a foreign config must be understood, known to change nothing, or hold the one value we
implement: a setting silently ignored would load a different model than the one that was trained.
"""

from collections.abc import Mapping
from typing import Any

from model.architectures import (
    AnyModel,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    Qwen3Config,
    T5Config,
)
from model.bert_classifier import BertClassifierConfig, Level, classifier_of
from model.errors import WeightsError
from model.language_model import ArchitectureConfig
from model.rotary import Llama3RopeScaling

# Keys that shape generation, provenance or training, never the logits of a trained model.
_NEUTRAL = {
    "_name_or_path", "_attn_implementation_autoset", "architectures", "attention_dropout",
    "attn_pdrop", "bos_token_id", "chunk_size_feed_forward", "dtype", "embd_pdrop", "eos_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "id2label", "initializer_range",
    "label2id", "max_window_layers", "model_type", "n_ctx", "output_attentions",
    "output_hidden_states", "pad_token_id", "pretraining_tp", "problem_type",
    "reorder_and_upcast_attn", "resid_pdrop", "return_dict", "sep_token_id", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "task_specific_params", "torch_dtype", "transformers_version", "use_cache",
    "is_encoder_decoder", "gradient_checkpointing", "sliding_window", "classifier_dropout",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "mask_token_id", "cls_token_id",
    "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type", "decoder_start_token_id", "dropout_rate",
    "initializer_factor", "output_past", "tokenizer_class",
}  # fmt: skip
# Keys with the only values we implement.
_FIXED: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "is_decoder": (False, True),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "quantization_config": (None,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "use_sliding_window": (False,),
}
# `gelu_new` and its aliases are the tanh form; plain `gelu` is the exact one and differs.
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh")
_EXACT_GELU = ("gelu", "gelu_python")
_CLASSIFIERS: dict[Level, str] = {
    "text": "BertForSequenceClassification",
    "word": "BertForTokenClassification",
}


def config_to_huggingface(config: ArchitectureConfig) -> dict[str, Any]:
    """What `config.json` holds; old and new spelling of what transformers 5 renamed.

    WeightsError for a setting the family does not have there: others would load another model.
    """
    if config.logit_softcap is not None:
        raise WeightsError(
            f"logit_softcap={config.logit_softcap} has no place in the config.json of "
            f"{type(config).__name__.removesuffix('Config')}: transformers would load the model "
            "without it; train with logit_softcap: null to export"
        )
    dtype = {"dtype": "float32", "torch_dtype": "float32", "use_cache": True}
    if isinstance(config, GPT2Config):
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocab_size,
            "n_positions": config.context_length,
            "n_ctx": config.context_length,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden_width,
            "activation_function": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
            "layer_norm_epsilon": config.norm_epsilon,
            "tie_word_embeddings": config.tied_head,
            "initializer_range": config.init.std,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            **dtype,
        }
    if isinstance(config, BertConfig):
        return {
            **_head_of(config),
            "model_type": "bert",
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.context_length,
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.hidden_width,
            "type_vocab_size": config.token_types,
            "hidden_act": "gelu",
            "layer_norm_eps": config.norm_epsilon,
            "tie_word_embeddings": True,
            "position_embedding_type": "absolute",
            "initializer_range": config.init.std,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            **dtype,
        }
    if isinstance(config, T5Config):
        return {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "vocab_size": config.vocab_size,
            "n_positions": config.context_length,
            "d_model": config.width,
            "d_kv": config.head_width,
            "d_ff": config.hidden_width,
            "num_layers": config.layers,
            "num_decoder_layers": config.num_decoder_layers,
            "num_heads": config.heads,
            "relative_attention_num_buckets": config.buckets,
            "relative_attention_max_distance": config.max_distance,
            "feed_forward_proj": "gated-gelu",
            "layer_norm_epsilon": config.norm_epsilon,
            "tie_word_embeddings": config.tied_head,
            "scale_decoder_outputs": config.tied_head,
            "is_encoder_decoder": True,
            "dropout_rate": 0.0,
            "initializer_factor": config.init.std,
            **dtype,
        }
    assert isinstance(config, LlamaConfig | Qwen3Config)
    qwen3 = isinstance(config, Qwen3Config)
    document = {
        "architectures": ["Qwen3ForCausalLM" if qwen3 else "LlamaForCausalLM"],
        "model_type": "qwen3" if qwen3 else "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.attention_width // config.heads,
        "intermediate_size": config.hidden_width,
        "hidden_act": config.hidden_act if isinstance(config, Qwen3Config) else "silu",
        "rms_norm_eps": config.norm_epsilon,
        # Readers before transformers 5 know rope_theta and fall back to 10,000 without it.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tied_head,
        "initializer_range": config.init.std,
        "attention_bias": False,
        "attention_dropout": 0.0,
        **dtype,
    }
    if isinstance(config, Qwen3Config):
        return {**document, "use_sliding_window": False, "sliding_window": None}
    if config.rope_scaling is not None:
        scaling = {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_context_length,
        }
        document["rope_scaling"] = scaling
        document["rope_parameters"] = {**scaling, "rope_theta": config.rope_theta}
    return {**document, "mlp_bias": False}


def _head_of(config: BertConfig) -> dict[str, Any]:
    """The class of transformers that has this head, and the names of what it tells apart."""
    if not isinstance(config, BertClassifierConfig):
        return {"architectures": ["BertForMaskedLM"]}
    named: dict[str, Any] = {
        "architectures": [_CLASSIFIERS[config.level]],
        "id2label": {str(i): label for i, label in enumerate(config.labels)},
        "label2id": {label: i for i, label in enumerate(config.labels)},
        "classifier_dropout": 0.0,
    }
    if config.level == "text":
        named["problem_type"] = "single_label_classification"
    return named


def config_from_huggingface(document: Mapping[str, Any]) -> AnyModel:
    """Our settings for a `config.json`; WeightsError for what we do not implement."""
    reader = _Reader(document)
    kind = document.get("model_type")
    try:
        if kind == "gpt2":
            return _gpt2(reader)
        if kind == "llama":
            return _llama(reader)
        if kind == "qwen3":
            return _qwen3(reader)
        if kind == "bert":
            return _with_classes(_bert(reader), document)
        if kind == "t5":
            return _t5(reader)
    except WeightsError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"config.json cannot be carried out: {error}") from error
    raise WeightsError(
        f"config.json: model_type={kind!r} is not supported; use gpt2, llama, qwen3, bert or t5"
    )


class _Reader:
    """Takes keys out of a config and complains about those nobody took."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._rest = {name: value for name, value in document.items() if name not in _NEUTRAL}

    def take(self, *names: str, default: Any = ...) -> Any:
        """The value of the first of `names` that is there; all of them count as understood."""
        found = [self._rest.pop(name) for name in names if name in self._rest]
        found = [value for value in found if value is not None]
        if found:
            return found[0]
        if default is ...:
            raise WeightsError(f"config.json lacks {names[0]}")
        return default

    def expect(self, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
        """A value that must be one of `allowed`."""
        value = self.take(name, default=default)
        if value not in allowed:
            raise WeightsError(
                f"config.json: {name}={value!r} is not supported; it must be one of {allowed}"
            )
        return value

    def finish(self) -> None:
        """Raise for keys that are neither understood nor neutral."""
        for name, allowed in _FIXED.items():
            self.expect(name, allowed, allowed[0])
        if self._rest:
            name, value = next(iter(self._rest.items()))
            raise WeightsError(
                f"config.json: {name}={value!r} is not a setting we implement; "
                f"loading without it would give another model"
            )


def _gpt2(reader: _Reader) -> GPT2Config:
    activation = reader.expect("activation_function", _TANH_GELU + _EXACT_GELU, "gelu_new")
    config = GPT2Config(
        activation="gelu" if activation in _EXACT_GELU else "gelu_tanh",
        vocab_size=reader.take("vocab_size"),
        context_length=reader.take("n_positions"),
        width=reader.take("n_embd"),
        layers=reader.take("n_layer"),
        heads=reader.take("n_head"),
        hidden_width=reader.take("n_inner", default=None),
        norm_epsilon=reader.take("layer_norm_epsilon", default=1e-5),
        tied_head=reader.take("tie_word_embeddings", default=True),
    )
    reader.finish()
    return config


def _rotary(reader: _Reader) -> dict[str, Any]:
    """What Llama and Qwen3 share."""
    heads = reader.take("num_attention_heads")
    layer_types = set(reader.take("layer_types", default=[]))
    if layer_types - {"full_attention"}:
        raise WeightsError(f"config.json: layer_types {sorted(layer_types)}: only full_attention")
    return {
        "vocab_size": reader.take("vocab_size"),
        "context_length": reader.take("max_position_embeddings"),
        "width": reader.take("hidden_size"),
        "layers": reader.take("num_hidden_layers"),
        "heads": heads,
        "kv_heads": reader.take("num_key_value_heads", default=heads),
        "hidden_width": reader.take("intermediate_size"),
        "norm_epsilon": reader.take("rms_norm_eps", default=1e-6),
        "tied_head": reader.take("tie_word_embeddings", default=False),
    }


def _rope(reader: _Reader) -> tuple[float, Llama3RopeScaling | None]:
    """theta and scaling, from the new `rope_parameters` or the old pair of keys."""
    parameters = dict(reader.take("rope_parameters", default={}))
    scaling = {**dict(reader.take("rope_scaling", default={})), **parameters}
    theta = float(scaling.pop("rope_theta", reader.take("rope_theta", default=10_000.0)))
    kind = scaling.pop("rope_type", scaling.pop("type", "default"))
    scaling.pop("type", None)
    if kind == "llama3":
        return theta, Llama3RopeScaling(
            factor=float(scaling["factor"]),
            low_freq_factor=float(scaling["low_freq_factor"]),
            high_freq_factor=float(scaling["high_freq_factor"]),
            original_context_length=int(scaling["original_max_position_embeddings"]),
        )
    if kind != "default" or scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise WeightsError(
            f"config.json: rotary positions of type {kind!r} with {scaling} are not supported; "
            f"use default or llama3"
        )
    return theta, None


def _llama(reader: _Reader) -> LlamaConfig:
    reader.expect("hidden_act", ("silu", "swish"), "silu")
    shared = _rotary(reader)
    theta, scaling = _rope(reader)
    head_width = reader.take("head_dim", default=None)
    config = LlamaConfig(**shared, head_width=head_width, rope_theta=theta, rope_scaling=scaling)
    reader.finish()
    return config


def _qwen3(reader: _Reader) -> Qwen3Config:
    act = reader.expect("hidden_act", ("silu", "relu2"), "silu")
    shared = _rotary(reader)
    theta, scaling = _rope(reader)
    if scaling is not None:
        raise WeightsError("config.json: qwen3 with llama3 rotary scaling is not supported")
    head_width = reader.take("head_dim", default=128)
    config = Qwen3Config(**shared, head_width=head_width, rope_theta=theta, hidden_act=act)
    reader.finish()
    return config


def _with_classes(config: BertConfig, document: Mapping[str, Any]) -> BertConfig:
    """The classifier that a config describes, or the encoder where it describes none."""
    named = [str(one) for one in document.get("architectures") or ()]
    level = next((one for one, theirs in _CLASSIFIERS.items() if theirs in named), None)
    if level is None:
        return config
    problem = document.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise WeightsError(f"config.json: problem_type={problem!r}: only one class per text")
    labels = {int(i): str(label) for i, label in (document.get("id2label") or {}).items()}
    labels = labels or {0: "LABEL_0", 1: "LABEL_1"}  # what transformers leaves out
    if sorted(labels) != list(range(len(labels))):
        raise WeightsError(f"config.json: id2label names {sorted(labels)}, not 0, 1, ...")
    return classifier_of(config, tuple(labels[i] for i in range(len(labels))), level)


def _bert(reader: _Reader) -> BertConfig:
    # The exact form here, the tanh form in GPT-2: the same word means different functions.
    reader.expect("hidden_act", _EXACT_GELU, "gelu")
    reader.expect("position_embedding_type", ("absolute",), "absolute")
    reader.expect("is_decoder", (False,), False)
    reader.expect("tie_word_embeddings", (True,), True)
    config = BertConfig(
        vocab_size=reader.take("vocab_size"),
        context_length=reader.take("max_position_embeddings"),
        width=reader.take("hidden_size"),
        layers=reader.take("num_hidden_layers"),
        heads=reader.take("num_attention_heads"),
        hidden_width=reader.take("intermediate_size"),
        token_types=reader.take("type_vocab_size", default=2),
        norm_epsilon=reader.take("layer_norm_eps", default=1e-12),
    )
    reader.finish()
    return config


def _t5(reader: _Reader) -> T5Config:
    reader.expect("feed_forward_proj", ("gated-gelu",), "relu")  # v1.0 has no gates
    reader.expect("dense_act_fn", _TANH_GELU, "gelu_new")
    reader.expect("is_gated_act", (True,), True)
    reader.expect("is_decoder", (False,), False)
    tied = reader.take("tie_word_embeddings", default=True)
    config = T5Config(
        vocab_size=reader.take("vocab_size"),
        context_length=reader.take("n_positions", default=512),
        width=reader.take("d_model"),
        layers=reader.take("num_layers"),
        decoder_layers=reader.take("num_decoder_layers", default=None),
        heads=reader.take("num_heads"),
        head_width=reader.take("d_kv"),
        hidden_width=reader.take("d_ff"),
        buckets=reader.take("relative_attention_num_buckets", default=32),
        max_distance=reader.take("relative_attention_max_distance", default=128),
        norm_epsilon=reader.take("layer_norm_epsilon", default=1e-6),
        tied_head=reader.take("scale_decoder_outputs", default=tied),
    )
    reader.finish()
    return config
