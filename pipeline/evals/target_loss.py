"""How well an encoder-decoder writes a given target for a given source: nats per target token.

    held-out text -> windows -> spans cut out, drawn by document and seed -> source, target
    pairs.jsonl   {"source": ..., "target": ...}                          -> source, target
    teacher forcing: start + target -> nats of each token of target + end

The model reads the surroundings of what it writes, and sentinels cost next to nothing: the figure
must not be compared with a decoder's perplexity or bits per byte, nor across vocabularies.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.batch import Source
from model.language_model import LanguageModel
from model.loss import model_nll
from model.objectives import SpanCorruption
from model.objectives.spans import Corrupting
from pipeline.evals.pseudo_perplexity import MaskedPlaces
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.store.errors import DataError, TrainingError
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.filling import MaskTokenizer
from pipeline.training.objective import build_objective
from pipeline.training.rewriting import source_ids

BATCH_TOKENS = 8_192  # padded positions per forward pass; guess: a few MB of activations
LABEL = (
    "nats per target token, the source given: not comparable with bits per byte or perplexity, or "
    "across vocabularies"
)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """One source and what is to be written for it, both with their end symbol."""

    document: int
    """Number of the document it is of."""
    source: Ints
    target: Ints


def span_pairs(
    objective: SpanCorruption,
    tokenizer: Tokenizer,
    doc_ids: Sequence[str],
    texts: Sequence[str],
    *,
    window: int,
    max_pairs: int,
    seed: int,
) -> list[Pair]:
    """Windows of `texts` with spans cut out: the same for every model with this tokenizer.

    What is cut out of a window depends on its document, its number and the seed alone; of too many
    windows those with the smallest hashes are taken. DataError for texts without a token.
    """
    corrupting = build_objective(objective, tokenizer, length=window)
    assert isinstance(corrupting, Corrupting)
    found: list[tuple[int, Pair]] = []
    for number, (doc_id, text) in enumerate(zip(doc_ids, texts, strict=True)):
        ids = np.array(tokenizer.encode(text), np.int64)
        for start in range(0, len(ids), window):
            key = f"spans {seed} {start // window} {doc_id}".encode("utf-8", "surrogatepass")
            digest = int.from_bytes(hashlib.sha256(key).digest()[:16], "little")
            rng = np.random.Generator(np.random.Philox(key=digest))
            ((source, target),) = corrupting.pairs([ids[start : start + window]], rng)
            found.append((digest, Pair(number, source, target)))
    if not found:
        raise DataError("the eval set holds no text; raise eval_set.max_bytes or add documents")
    kept = {digest for digest, _ in sorted(found, key=lambda one: one[0])[:max_pairs]}
    return [pair for digest, pair in found if digest in kept]


def read_pairs_file(
    path: Path, tokenizer: MaskTokenizer, *, limit: int
) -> tuple[list[str], list[Pair], dict[str, int]]:
    """The pairs of a JSONL file, an id for each, and how many lines were left out, by reason.

    A line is an object with `source` and `target`, or `prompt` and `answer`; sources and targets
    longer than `limit` tokens with their end are left out. DataError where nothing is left.
    """
    names: list[str] = []
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        texts = _texts_of(line)
        if isinstance(texts, str):
            left_out[texts] += 1
            continue
        source = np.array(source_ids(tokenizer, texts[0]), np.int64)
        target = np.array([*_target_ids(tokenizer, texts[1])], np.int64)
        if max(len(source), len(target)) > limit:
            left_out[f"longer than {limit} tokens"] += 1
            continue
        pairs.append(Pair(len(names), source, target))
        names.append(f"{path.name}:{number}")
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "empty"
        raise DataError(
            f'{path} holds no pair ({reasons}); write lines like {{"source": "...", "target": '
            '"..."}'
        )
    return names, pairs, dict(left_out)


def _texts_of(line: bytes) -> tuple[str, str] | str:
    """Source and target of one line, or why it has none."""
    try:
        row = json.loads(line)
    except ValueError:
        return "not JSON"
    if not isinstance(row, dict):
        return "not an object"
    for source, target in (("source", "target"), ("prompt", "answer")):
        if source in row and target in row:
            if not isinstance(row[source], str) or not isinstance(row[target], str):
                return f"{source} or {target} is not text"
            if not row[target]:
                return "empty target"
            return row[source], row[target]
    return "no source and target"


def _target_ids(tokenizer: MaskTokenizer, text: str) -> list[int]:
    return source_ids(tokenizer, text)  # sentinels are tokens there too, and it ends alike


def score_pairs(
    model: LanguageModel,
    doc_ids: Sequence[str],
    pairs: Sequence[Pair],
    *,
    start: int,
    batch_tokens: int = BATCH_TOKENS,
) -> MaskedPlaces:
    """Nats of every target token, ends included; places count through a document's targets.

    TrainingError where a loss is not finite.
    """
    nats: list[npt.NDArray[np.float64]] = [np.zeros(0)] * len(pairs)
    right: list[npt.NDArray[np.bool_]] = [np.zeros(0, bool)] * len(pairs)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in _batches(pairs, batch_tokens):
                found = _score(model, [pairs[i] for i in batch], start)
                for i, (of_pair, hit) in zip(batch, found, strict=True):
                    nats[i], right[i] = of_pair, hit
    finally:
        model.train(was_training)
    documents = np.repeat([p.document for p in pairs], [len(p.target) for p in pairs])
    counted: Counter[int] = Counter()
    places = []
    for pair in pairs:
        places.append(np.arange(len(pair.target)) + counted[pair.document])
        counted[pair.document] += len(pair.target)
    scored = np.concatenate(nats)
    if not np.isfinite(scored).all():
        where = int(np.argmin(np.isfinite(scored)))
        raise TrainingError(
            f"a target token of {doc_ids[int(documents[where])]!r} has a loss of {scored[where]}: "
            "the weights are damaged or training diverged; use an earlier checkpoint or a lower "
            "learning rate"
        )
    return MaskedPlaces(
        tuple(doc_ids), documents.astype(np.int64), np.concatenate(places).astype(np.int64),
        np.concatenate([p.target for p in pairs]), scored, np.concatenate(right), len(scored),
    )  # fmt: skip


def summarise_targets(scored: MaskedPlaces, *, pairs: int, draws: int, seed: int) -> dict[str, Any]:
    """The `targets` section of report.json; intervals resample documents."""
    used = np.unique(scored.documents)
    number = np.searchsorted(used, scored.documents)
    per_document = np.bincount(number, weights=scored.nats)
    counts = np.bincount(number).astype(np.float64)
    interval = bootstrap_ratio(per_document, counts, draws=draws, seed=seed)
    return {
        "label": LABEL,
        "comparable_with_bits_per_byte": False,
        "nats_per_token": math.fsum(scored.nats) / len(scored.nats),
        "nats_per_token_low": interval.low,
        "nats_per_token_high": interval.high,
        "nats_per_target": math.fsum(scored.nats) / pairs,
        "accuracy": float(scored.right.mean()),
        "tokens": len(scored.nats),
        "targets": pairs,
        "documents": len(used),
        "bootstrap_draws": draws,
        "bootstrap_seed": seed,
    }


def _batches(pairs: Sequence[Pair], batch_tokens: int) -> Iterator[list[int]]:
    """Longest first, so that rows of a batch are nearly equal; at least one row each."""
    lengths = [len(p.source) + len(p.target) for p in pairs]
    order = sorted(range(len(pairs)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        rows = max(1, batch_tokens // lengths[order[at]])
        yield order[at : at + rows]
        at += rows


def _score(
    model: LanguageModel, pairs: Sequence[Pair], start: int
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Nats and hits of each pair's target, from one padded forward pass."""
    sources, source_segments = _padded([p.source for p in pairs])
    targets, segments = _padded([p.target for p in pairs])
    inputs = np.concatenate((np.full((len(pairs), 1), start), targets[:, :-1]), axis=1)
    device = model.device

    def moved(values: Ints) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    hidden = model.hidden(
        moved(inputs), segment_ids=moved(segments),
        source=Source(moved(sources), moved(source_segments)),
    )  # fmt: skip
    wanted = moved(targets)
    nats = model_nll(model, hidden, wanted).double().cpu().numpy()
    right = (model.logits(hidden).argmax(dim=-1) == wanted).cpu().numpy()
    sizes = [len(p.target) for p in pairs]
    return [(nats[row, :size], right[row, :size]) for row, size in enumerate(sizes)]


def _padded(rows: Sequence[Ints]) -> tuple[Ints, Ints]:
    """(B, T) ids and segments: 1 where there is a token, 0 beyond."""
    width = max(map(len, rows))
    ids, segments = np.zeros((2, len(rows), width), np.int64)
    for row, values in enumerate(rows):
        ids[row, : len(values)] = values
        segments[row, : len(values)] = 1
    return ids, segments
