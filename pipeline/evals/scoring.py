"""Nats per token of many sequences, in batches of like length; the sums do not depend on batching.

sequence  s0 s1 s2 s3      gives  nats of s1, s2, s3, each given everything before it
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from model.language_model import LanguageModel
from model.loss import CHUNK_ROWS_CPU, CHUNK_ROWS_GPU, model_nll
from pipeline.store.errors import TrainingError

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations
BATCH_TOKENS_CPU = 2_048  # activations stay in the cache: 1.12x over 8,192, one core of a Xeon


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
    targets = rows[:, 1:][keep]
    cuts = np.cumsum(wanted.sum(axis=1))[:-1]
    if not confidence:
        nats = model_nll(model, hidden[keep], targets).double().cpu().numpy()
        empty = np.zeros(0, np.float32), np.zeros(0, bool)
        return [Outcomes(piece, *empty) for piece in np.split(nats, cuts)]
    nll, sure, hits = _with_confidence(model, hidden[keep], targets)
    pieces = (
        np.split(nll.double().cpu().numpy(), cuts),
        np.split(sure.cpu().numpy(), cuts),
        np.split(hits.cpu().numpy(), cuts),
    )
    return [Outcomes(*piece) for piece in zip(*pieces, strict=True)]


def _with_confidence(
    model: LanguageModel, hidden: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(N, D), (N,) -> nats, probability of the likeliest token, whether it is the target.

    The nats are computed as `token_nll` does, so asking for more changes none of them.
    """
    chunk = CHUNK_ROWS_CPU if hidden.device.type == "cpu" else CHUNK_ROWS_GPU
    nll, sure, hits = [], [], []
    for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        logits = model.logits(h).float()  # (C, V) <- the big one
        loss = F.cross_entropy(logits, t, reduction="none")
        top = logits.max(dim=-1)
        total = loss + logits.gather(1, t.unsqueeze(1)).squeeze(1)  # log of the sum of exponents
        nll.append(loss)
        sure.append((top.values - total).exp())
        hits.append(top.indices == t)
    if not nll:
        none = hidden.new_zeros(0, dtype=torch.float32)
        return none, none, none.bool()
    return torch.cat(nll), torch.cat(sure), torch.cat(hits)
