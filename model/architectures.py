"""The union of architectures. A new one is a new file and a new member here."""

from collections.abc import Mapping
from typing import Any, get_args

from model.bert import BertConfig
from model.bert_classifier import BertClassifierConfig
from model.gpt2 import GPT2Config
from model.language_model import ArchitectureConfig, ComputeDtype, Initialization, LanguageModel
from model.llama import LlamaConfig
from model.qwen3 import Qwen3Config
from model.settings import settings_from_dict, settings_to_dict
from model.t5 import T5Config

__all__ = [
    "AnyModel", "AnyTrained", "ArchitectureConfig", "BertClassifierConfig", "BertConfig",
    "ComputeDtype", "GPT2Config", "Initialization", "LanguageModel", "LlamaConfig", "Qwen3Config",
    "T5Config", "model_config_from_dict", "model_config_to_dict",
]  # fmt: skip

AnyModel = GPT2Config | LlamaConfig | Qwen3Config | BertConfig | T5Config
AnyTrained = AnyModel | BertClassifierConfig
"""With what only fine-tuning makes, and no settings of pre-training can name."""


def model_config_from_dict(values: Mapping[str, Any]) -> AnyModel:
    """The architecture whose `kind` and settings are `values`; ValueError for unknown ones."""
    config: AnyModel = settings_from_dict(get_args(AnyTrained), values)
    return config


def model_config_to_dict(config: ArchitectureConfig) -> dict[str, Any]:
    """The JSON form that `model_config_from_dict` reads."""
    return settings_to_dict(config)
