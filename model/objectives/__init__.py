"""The union of objectives: what of a row is predicted. A new one is a new file and a member."""

from collections.abc import Mapping
from typing import Any, get_args

from model.batch import AttentionPattern
from model.objectives.causal import CausalLM
from model.objectives.masked import MaskedLM
from model.objectives.pairs import AnswerPairs
from model.objectives.rows import Arrays, Objective, RowKeys, Vocabulary
from model.objectives.spans import SpanCorruption
from model.settings import settings_from_dict

__all__ = [
    "AnswerPairs", "AnyObjective", "Arrays", "CausalLM", "MaskedLM", "Objective", "RowKeys",
    "SpanCorruption", "TrainedObjective", "Vocabulary", "objective_for", "objective_from_dict",
]  # fmt: skip

AnyObjective = CausalLM | MaskedLM | SpanCorruption
TrainedObjective = AnyObjective | AnswerPairs
"""With what only fine-tuning has, and no settings of pre-training can name."""


def objective_from_dict(values: Mapping[str, Any]) -> TrainedObjective:
    """The objective whose `kind` and settings are `values`; ValueError for unknown ones."""
    objective: TrainedObjective = settings_from_dict(get_args(TrainedObjective), values)
    return objective


def objective_for(attention: AttentionPattern) -> AnyObjective:
    """What an architecture that attends in this pattern is usually trained for."""
    if attention == "encoder-decoder":
        return SpanCorruption()
    return MaskedLM() if attention == "bidirectional" else CausalLM()
