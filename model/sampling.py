"""From logits to the next token: repetition penalty, temperature, top-k, top-p, one draw.

R rows, V vocabulary. Every row has a generator of its own, so that a row's draws depend on its seed
and nothing else in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.settings import check, setting


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the default is greedy."""

    temperature: float = setting(0.0, "Divides the logits; 0 takes the likeliest token.", ge=0.0)
    top_k: int | None = setting(None, "Draw among the k likeliest tokens only.", ge=1)
    top_p: float | None = setting(
        None, "Draw among the fewest tokens whose probabilities reach p.", gt=0.0, le=1.0
    )
    repetition_penalty: float = setting(
        1.0, "Above 1: tokens seen in prompt or answer become less likely.", gt=0.0
    )

    def __post_init__(self) -> None:
        check(self)


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Where `seen` (R, V): positive logits divided, others multiplied (Keskar et al. 2019)."""
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, penalized, logits)


def filter_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """(R, V) float32 logits after temperature, top-k, top-p, in this order; dropped ones are -inf.

    With temperature 0 only the likeliest token is left.
    """
    if sampling.temperature == 0.0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(logits, float("-inf")).scatter(-1, best, 0.0)
    logits = logits - logits.max(dim=-1, keepdim=True).values  # tiny temperatures
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        values, kept = logits.topk(sampling.top_k, dim=-1)  # exactly k, also among equals
        logits = torch.full_like(logits, float("-inf")).scatter(-1, kept, values)
    if sampling.top_p is not None and sampling.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # of the likelier tokens; 0 for the first
        ordered = ordered.masked_fill(before >= sampling.top_p, float("-inf"))
        logits = torch.full_like(logits, float("-inf")).scatter(-1, order, ordered)
    return logits


def draw(logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """(R, V) filtered logits -> (R,) token ids, one uniform number per row from its generator."""
    uniform = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
    cumulative = logits.double().softmax(-1).cumsum(-1)  # (R, V)
    threshold = uniform.to(logits.device).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(1)
