"""Nats per token of many sequences, in batches of like length; the sums do not depend on batching.

sequence  s0 s1 s2 s3      gives  nats of s1, s2, s3, each given everything before it
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from model.language_model import LanguageModel
from model.loss import token_nll
from pipeline.store.errors import TrainingError

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations


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
    starts = [1] * len(sequences) if first is None else list(first)
    assert all(start >= 1 for start in starts)
    results: list[np.ndarray] = [np.zeros(0)] * len(sequences)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            for batch in _batches([len(s) - 1 for s in sequences], batch_tokens):
                for i, nats in zip(
                    batch, _score(model, sequences, starts, batch, device), strict=True
                ):
                    if not np.isfinite(nats).all():
                        raise _not_finite(i, starts[i], nats)
                    results[i] = nats
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
) -> list[np.ndarray]:
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
    nats = token_nll(hidden[keep], model.head_weight, rows[:, 1:][keep]).double().cpu().numpy()
    return np.split(nats, np.cumsum(wanted.sum(axis=1))[:-1])
