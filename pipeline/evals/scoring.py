"""Nats per token of many sequences, in batches of like length; the sums do not depend on batching.

sequence  s0 s1 s2 s3      gives  nats of s1, s2, s3, each given everything before it
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.language_model import LanguageModel
from model.loss import CHUNK_ROWS_GPU
from pipeline.store.errors import TrainingError

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations
BATCH_TOKENS_CPU = 1_024  # activations stay in the cache: 1.2x over 8,192, one core of a Xeon
CHUNK_ROWS_CPU = 128  # 128 x 4,096 logits are 2 MB, half of a core's second cache


@dataclass(frozen=True)
class Outcomes:
    """What the model said at n targets of one sequence."""

    nats: npt.NDArray[np.float64]
    """(n,) of the target."""
    confidence: npt.NDArray[np.float32]
    """(n,) probability of the likeliest token; empty where it was not asked for."""
    hits: npt.NDArray[np.bool_]
    """(n,) whether the likeliest token is the target; empty where it was not asked for."""


def sequence_nats(
    model: LanguageModel,
    sequences: Sequence[np.ndarray],
    first: Sequence[int] | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> list[np.ndarray]:
    """Per sequence of m ids the float64 nats of targets `first[i]..m-1` (default: from 1).

    A sequence has at most context_length + 1 ids. Rows are padded at the end, which a causal model
    never sees. TrainingError names the first sequence whose loss is not a finite number.
    """
    outcomes = sequence_outcomes(model, sequences, first, batch_tokens=batch_tokens)
    return [outcome.nats for outcome in outcomes]


def sequence_outcomes(
    model: LanguageModel,
    sequences: Sequence[np.ndarray],
    first: Sequence[int] | None = None,
    *,
    confidence: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Outcomes]:
    """Like `sequence_nats`, and with `confidence` also how sure the model was of what."""
    starts = [1] * len(sequences) if first is None else list(first)
    assert all(start >= 1 for start in starts)
    nothing = Outcomes(np.zeros(0), np.zeros(0, np.float32), np.zeros(0, bool))
    results = [nothing] * len(sequences)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    if device.type == "cpu":
        batch_tokens = min(batch_tokens, BATCH_TOKENS_CPU)
    try:
        with torch.inference_mode():
            for batch in _batches([len(s) - 1 for s in sequences], batch_tokens):
                found = _score(model, sequences, starts, batch, device, confidence)
                for i, outcome in zip(batch, found, strict=True):
                    if not np.isfinite(outcome.nats).all():
                        raise _not_finite(i, starts[i], outcome.nats)
                    results[i] = outcome
    finally:
        model.train(was_training)
    return results


def _not_finite(sequence: int, start: int, nats: np.ndarray) -> TrainingError:
    at = int(np.argmin(np.isfinite(nats)))
    return TrainingError(
        f"sequence {sequence} has a loss of {nats[at]} at token {start + at}: the weights are "
        "damaged or training diverged; use an earlier checkpoint or a lower learning rate"
    )


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Longest first, so that rows of a batch are nearly equal; at least one row each."""
    order = sorted((i for i, n in enumerate(lengths) if n > 0), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        rows = max(1, batch_tokens // lengths[order[at]])
        yield order[at : at + rows]
        at += rows


def _score(
    model: LanguageModel,
    sequences: Sequence[np.ndarray],
    starts: Sequence[int],
    batch: Sequence[int],
    device: torch.device,
    confidence: bool,
) -> list[Outcomes]:
    width = max(len(sequences[i]) for i in batch)
    ids = np.zeros((len(batch), width), np.int64)
    wanted = np.zeros((len(batch), width - 1), bool)
    for row, i in enumerate(batch):
        ids[row, : len(sequences[i])] = sequences[i]
        wanted[row, starts[i] - 1 : len(sequences[i]) - 1] = True
    rows = torch.from_numpy(ids).to(device)
    keep = torch.from_numpy(wanted).to(device)
    hidden = model.hidden(rows[:, :-1])  # (B, T, D)
    # Only the wanted positions go through the head, the dearest layer of a small model.
    found = _outcomes(model, hidden[keep], rows[:, 1:][keep])
    cuts = np.cumsum(wanted.sum(axis=1))[:-1]
    nats, sure, hits = (np.split(part.cpu().numpy(), cuts) for part in found)
    if not confidence:
        nothing = np.zeros(0, np.float32), np.zeros(0, bool)
        return [Outcomes(piece, *nothing) for piece in nats]
    return [Outcomes(*piece) for piece in zip(nats, sure, hits, strict=True)]


def _outcomes(model: LanguageModel, hidden: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """(N, D), (N,) -> float64 nats, probability of the likeliest token, whether it is the target.

    With m the largest logit and Z = sum(exp(logit - m)), the nats are log Z + m - the target's
    logit and the probability of the likeliest token is 1 / Z: the logits are read once more after
    they are made, and what is made of them takes their place.
    """
    features, weight, bias = model.features(hidden), model.head_weight, model.head_bias
    chunk = CHUNK_ROWS_CPU if hidden.device.type == "cpu" else CHUNK_ROWS_GPU
    nats = hidden.new_empty(len(hidden), dtype=torch.float64)
    sure = hidden.new_empty(len(hidden), dtype=torch.float32)
    hits = hidden.new_empty(len(hidden), dtype=torch.bool)
    # One buffer for all chunks: fresh pages cost as much as what is computed in them.
    logits = features.new_empty(min(chunk, len(hidden)), len(weight))  # (C, V) <- the big one
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        part = features[rows]
        made = logits[: len(part)]
        torch.mm(part, weight.to(part.dtype).t(), out=made)
        if bias is not None:
            made += bias
        if (cap := model.config.logit_softcap) is not None:
            made.div_(cap).tanh_().mul_(cap)
        scores = made.float()  # itself, in float32
        top = scores.amax(dim=-1, keepdim=True)
        below = scores.gather(1, targets[rows].unsqueeze(1)).sub_(top).squeeze(1)
        total = scores.sub_(top).exp_().sum(dim=-1)  # (C,) Z
        nats[rows] = total.log().double() - below
        sure[rows] = total.reciprocal()
        hits[rows] = below == 0
    return nats, sure, hits
