"""One vector per text from a language model: the mean of its last hidden states.

ids of N texts -> batches of like length -> hidden (B, T, D) -> mean over the text -> (N, D)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from model.batch import Source
from model.encoder_decoder import EncoderDecoder
from model.language_model import LanguageModel

BATCH_TOKENS = 16_384  # padded positions per forward pass; guess


def embed(
    model: LanguageModel, texts: Sequence[Sequence[int]], *, max_tokens: int
) -> npt.NDArray[np.float32]:
    """(N, D) float32; of a longer text the last `max_tokens` ids count, an empty one is zero."""
    vectors = np.zeros((len(texts), model.config.width), np.float32)
    limit = min(max_tokens, model.config.context_length)
    order = sorted((i for i, ids in enumerate(texts) if ids), key=lambda i: (-len(texts[i]), i))
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            at = 0
            while at < len(order):
                width = min(len(texts[order[at]]), limit)
                rows = order[at : at + max(1, BATCH_TOKENS // width)]
                vectors[rows] = _pooled(model, [list(texts[i])[-limit:] for i in rows])
                at += len(rows)
    finally:
        model.train(was_training)
    return vectors


def _pooled(model: LanguageModel, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """(B, D); padding is at the end, which a causal model never sees, and is not averaged.

    An encoder-decoder is asked for its encoder's states, which padding does not change.
    """
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.int64)
    mask = torch.zeros((len(rows), width))
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1.0
    mask, ids = mask.to(model.device), ids.to(model.device)
    if isinstance(model, EncoderDecoder):
        hidden = model.encode(Source(ids, mask.long())).float()  # (B, T, D)
    else:
        hidden = model.hidden(ids).float()
    mask = mask.unsqueeze(-1)  # (B, T, 1)
    pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return np.asarray(pooled.cpu().numpy(), np.float32)
