"""BERT with a head that names a class, of a text or of each word (Devlin et al. 2018, section 4).

    text    hidden of the first token -> dense, tanh (the pooler) -> matrix + bias -> logits (C,)
    word    hidden of a word's first token ------------------------> matrix + bias -> logits (C,)

C classes. The head stands where the vocabulary's was, so that loss, optimiser, checkpoints and loop
see nothing new: a target is the number of a class instead of that of a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from model.bert import BertConfig
from model.blocks import HeadTransform
from model.language_model import LanguageModel
from model.layers import Linear
from model.settings import FORBID_EXTRA, setting

Level = Literal["text", "word"]
HEAD = ("head.", "head_bias", "head_transform.")
"""How the names of everything behind the blocks begin."""


class Pooler(HeadTransform):
    """What BERT does to the first token's hidden state before a class is read from it."""

    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)  # a dense layer, but no norm
        self.dense = Linear(width, width, bias=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D), between -1 and 1."""
        return torch.tanh(self.dense(hidden))


@dataclass(frozen=True)
class BertClassifierConfig(BertConfig):
    """An encoder and the classes that its head tells apart."""

    # A BertConfig in all but its kind, which tells stored architectures apart.
    kind: Literal["bert_classifier"] = "bert_classifier"  # type: ignore[assignment]
    labels: tuple[str, ...] = setting(("no", "yes"), "Names of the classes, in their order.")
    level: Level = setting("text", "What has a class: the whole text, or each word of it.")
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels={self.labels!r} must be two or more different names")

    def assemble(self) -> LanguageModel:
        """The modules, weights uninitialised."""
        model = super().assemble()
        model.head_transform = Pooler(self.width) if self.level == "text" else None
        model.head = Linear(self.width, len(self.labels))
        model.head_bias = nn.Parameter(torch.empty(len(self.labels)))
        return model


def classifier_of(
    encoder: BertConfig, labels: tuple[str, ...], level: Level
) -> BertClassifierConfig:
    """The classifier that has this encoder's shape."""
    shared = {f.name: getattr(encoder, f.name) for f in fields(BertConfig) if f.name != "kind"}
    return BertClassifierConfig(**shared, labels=labels, level=level)


def with_new_head(
    config: BertClassifierConfig, tensors: Mapping[str, Tensor], *, seed: int
) -> dict[str, Tensor]:
    """The encoder among `tensors`, whatever head it had, and a head of `config` from `seed`."""
    drawn = config.build(seed=seed).state_dict()
    encoder = {name: tensor for name, tensor in tensors.items() if not name.startswith(HEAD)}
    return encoder | {name: tensor for name, tensor in drawn.items() if name.startswith(HEAD)}
