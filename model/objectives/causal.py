"""Causal LM: every token is predicted from those before it; the loader's rows are that already."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from model.batch import AttentionPattern
from model.objectives.rows import Arrays, Objective, RowKeys, Vocabulary
from model.settings import FORBID_EXTRA


@dataclass(frozen=True)
class CausalLM:
    """Predict the next token (GPT): the targets are the inputs moved by one."""

    kind: Literal["causal"] = "causal"
    attention: ClassVar[AttentionPattern] = "causal"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    @property
    def predicted_share(self) -> float:
        """Share of the positions that go through the head."""
        return 1.0

    def build(self, vocabulary: Vocabulary) -> Objective:
        """Rows as they come."""
        return _unchanged


def _unchanged(arrays: Arrays, keys: RowKeys) -> Arrays:
    return arrays
