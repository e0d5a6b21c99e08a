"""How well an encoder finds a hidden token: pseudo-perplexity (Salazar et al. 2020).

    text t1 .. tn    each chosen place alone: bos t1 <m> t3 .. tn eos  ->  nats of t2
    pseudo-perplexity = exp(mean nats)

The model sees the text on *both* sides of the place, so the figure is far below a decoder's
perplexity on the same text and must never be compared with it; nor with another vocabulary's.
Every place costs a forward pass of its own, so places are drawn: by a hash of document and place,
the same for every model with the same tokenizer, window and seed.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from model.language_model import LanguageModel
from model.loss import model_nll
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.store.errors import DataError, TrainingError
from pipeline.store.files import replacing
from pipeline.tokens.tokenizer import Tokenizer

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations
PLACES_SCHEMA = pa.schema([
    ("doc_id", pa.string()), ("place", pa.int64()), ("token", pa.int64()), ("nats", pa.float64()),
    ("right", pa.bool_()),
])  # fmt: skip
LABEL = (
    "pseudo-perplexity: each token from both sides, alone; not comparable with perplexity, with "
    "bits per byte, or across vocabularies"
)


@dataclass(frozen=True)
class MaskedPlaces:
    """The places that were hidden, one after the other, and what the model made of them."""

    doc_ids: tuple[str, ...]
    documents: npt.NDArray[np.int64]  # (P,) number of the document of each place
    places: npt.NDArray[np.int64]  # (P,) which of the document's tokens
    tokens: npt.NDArray[np.int64]  # (P,) the hidden token
    nats: npt.NDArray[np.float64]  # (P,)
    right: npt.NDArray[np.bool_]  # (P,) whether it was the likeliest
    tokens_in_all: int


def score_masked(
    model: LanguageModel,
    tokenizer: Tokenizer,
    doc_ids: Sequence[str],
    texts: Sequence[str],
    *,
    max_places: int,
    window: int,
    seed: int,
    batch_tokens: int = BATCH_TOKENS,
) -> MaskedPlaces:
    """Hide up to `max_places` tokens of `texts`, each alone in a window of its surroundings.

    DataError for texts without a token, TrainingError where a loss is not finite.
    """
    sequences = [np.array(tokenizer.encode(text), np.int64) for text in texts]
    documents, places = _drawn(doc_ids, [len(ids) for ids in sequences], max_places, seed)
    if not len(documents):
        raise DataError("the eval set holds no text; raise eval_set.max_bytes or add documents")
    cut = [
        _window(sequences[d], p, window, tokenizer)
        for d, p in zip(documents.tolist(), places.tolist(), strict=True)
    ]
    hidden = np.array([sequences[d][p] for d, p in zip(documents, places, strict=True)], np.int64)
    nats = np.zeros(len(cut))
    right = np.zeros(len(cut), bool)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in _batches([len(ids) for ids, _ in cut], batch_tokens):
                nats[batch], right[batch] = _score(model, [cut[i] for i in batch], hidden[batch])
    finally:
        model.train(was_training)
    if not np.isfinite(nats).all():
        where = int(np.argmin(np.isfinite(nats)))
        raise TrainingError(
            f"token {places[where]} of document {doc_ids[documents[where]]!r} has a loss of "
            f"{nats[where]}: the weights are damaged or training diverged; use an earlier "
            "checkpoint or a lower learning rate"
        )
    in_all = sum(map(len, sequences))
    return MaskedPlaces(tuple(doc_ids), documents, places, hidden, nats, right, in_all)


def summarise_masked(scored: MaskedPlaces, *, window: int, draws: int, seed: int) -> dict[str, Any]:
    """The `masked` section of report.json; intervals resample documents."""
    used = np.unique(scored.documents)
    number = np.searchsorted(used, scored.documents)
    per_document = np.bincount(number, weights=scored.nats)
    counts = np.bincount(number).astype(np.float64)
    interval = bootstrap_ratio(per_document, counts, draws=draws, seed=seed)
    mean = math.fsum(scored.nats) / len(scored.nats)
    return {
        "label": LABEL,
        "comparable_with_perplexity": False,
        "nats_per_token": mean,
        "nats_per_token_low": interval.low,
        "nats_per_token_high": interval.high,
        "pseudo_perplexity": math.exp(min(mean, 700.0)),  # e^710 is beyond float64
        "accuracy": float(scored.right.mean()),
        "places": len(scored.nats),
        "tokens_in_all": scored.tokens_in_all,
        "documents": len(used),
        "window": window,
        "bootstrap_draws": draws,
        "bootstrap_seed": seed,
    }


def write_places(path: Path, scored: MaskedPlaces) -> None:
    """Write one row per place (an Arrow IPC file), for paired comparison."""
    table = pa.table(
        [[scored.doc_ids[d] for d in scored.documents.tolist()], scored.places, scored.tokens,
         scored.nats, scored.right],
        schema=PLACES_SCHEMA,
    )  # fmt: skip
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _drawn(
    doc_ids: Sequence[str], lengths: Sequence[int], max_places: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(document, place) of the places with the smallest hashes, in order."""
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    places = np.concatenate([np.arange(n) for n in lengths] or [np.zeros(0, np.int64)])
    if len(numbers) <= max_places:
        return numbers, places
    keys = np.concatenate([_hashes(doc_ids[d], n, seed) for d, n in enumerate(lengths)])
    chosen = np.sort(np.argpartition(keys, max_places)[:max_places])
    return numbers[chosen], places[chosen]


def _hashes(doc_id: str, count: int, seed: int) -> npt.NDArray[np.uint64]:
    """A number for each place of a document, whatever other documents there are."""
    digest = hashlib.sha256(f"masked {seed} {doc_id}".encode("utf-8", "surrogatepass")).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return rng.integers(0, 1 << 63, count, dtype=np.uint64)


def _window(
    ids: npt.NDArray[np.int64], place: int, window: int, tokenizer: Tokenizer
) -> tuple[npt.NDArray[np.int64], int]:
    """The document around `place`, hidden there, of `window` ids at most, and where that is.

    bos and eos stand where the document really begins and ends.
    """
    whole = np.concatenate(([tokenizer.bos], ids, [tokenizer.eos]))
    at = place + 1
    start = min(max(0, at - window // 2), max(0, len(whole) - window))
    cut = whole[start : start + window].copy()
    cut[at - start] = tokenizer.mask
    return cut, at - start


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Longest first, so that rows of a batch are nearly equal; at least one row each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        rows = max(1, batch_tokens // lengths[order[at]])
        yield order[at : at + rows]
        at += rows


def _score(
    model: LanguageModel,
    cut: Sequence[tuple[npt.NDArray[np.int64], int]],
    hidden_tokens: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    width = max(len(ids) for ids, _ in cut)
    inputs = np.zeros((len(cut), width), np.int64)
    segment_ids = np.zeros((len(cut), width), np.int64)
    for row, (ids, _) in enumerate(cut):
        inputs[row, : len(ids)] = ids
        segment_ids[row, : len(ids)] = 1
    device = model.device
    states = model.hidden(
        torch.from_numpy(inputs).to(device),
        segment_ids=torch.from_numpy(segment_ids).to(device),
    )  # (B, T, D)
    at = torch.tensor([place for _, place in cut], device=device)
    states = states[torch.arange(len(cut), device=device), at]  # (B, D): one place per row
    targets = torch.from_numpy(hidden_tokens).to(device)
    nats = model_nll(model, states, targets).double().cpu().numpy()
    right = (model.logits(states).argmax(dim=-1) == targets).cpu().numpy()
    return nats, right
