"""Bits per byte and token perplexity of held-out documents.

Every document is scored alone: `bos t1 .. tn eos`. The text's tokens t1..tn count, the first given
bos; eos is reported apart (lm-evaluation-harness's rule). Longer documents go through windows of L
inputs that move by `stride`; a token is scored once, in the first window that reaches it:

    L = 4, stride = 2    bos t1 t2 t3 | score t1 t2 t3 t4
                               t2 t3 t4 t5 | score t5 t6

so every token after the first window sees at least L - stride tokens before it. Sums run over the
corpus in float64; there is one division, at the end.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from model.language_model import LanguageModel
from pipeline.evals.scoring import BATCH_TOKENS, sequence_nats
from pipeline.evals.statistics import bits_per_byte, bootstrap_ratio
from pipeline.store.errors import DataError
from pipeline.store.files import replacing

BOS_RULE = "bos before every document, only in its first window; text tokens scored, eos apart"
DOCUMENT_SCORES_SCHEMA = pa.schema([
    ("doc_id", pa.string()), ("source", pa.string()), ("nats", pa.float64()),
    ("tokens", pa.int64()), ("bytes", pa.int64()), ("overlap", pa.float64()),
    ("eos_nats", pa.float64()),
])  # fmt: skip


class ByteTokenizer(Protocol):
    """The part of a tokenizer scoring needs: ids whose bytes concatenate to the text."""

    @property
    def bos(self) -> int:
        """Opens a document."""

    @property
    def eos(self) -> int:
        """Ends a document."""

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`."""

    def token_bytes(self, token: int, /) -> bytes:
        """The bytes an id stands for."""


@dataclass(frozen=True)
class DocumentScores:
    """Per-document sums, all of length D."""

    doc_ids: tuple[str, ...]
    sources: tuple[str, ...]
    nats: np.ndarray  # (D,) float64, over the text's tokens
    tokens: np.ndarray  # (D,) int64
    num_bytes: np.ndarray  # (D,) int64, UTF-8
    eos_nats: np.ndarray  # (D,) float64


def windows(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """Cover `length` targets: (start, stop, first) reads inputs start..stop-1, scores first..stop.

    Positions are those of the sequence `bos t1 .. tn eos` with `length` = n + 1 targets.
    """
    spans = [(0, min(context, length), 1)]
    while spans[-1][1] < length:
        start, stop, _ = spans[-1]
        spans.append((start + stride, min(start + stride + context, length), stop + 1))
    return spans


def score_documents(
    model: LanguageModel,
    tokenizer: ByteTokenizer,
    documents: Mapping[str, Sequence[str]],
    *,
    context: int,
    stride: int,
    batch_tokens: int = BATCH_TOKENS,
) -> DocumentScores:
    """Score the columns `doc_id, text, source`; every text token exactly once.

    DataError for an eval set without text, and when tokens and text differ in bytes.
    """
    if not 1 <= stride <= context:
        raise DataError(f"stride={stride} must be in 1..{context}, the model's context")
    texts = documents["text"]
    if not any(texts):
        raise DataError("the eval set holds no text; raise eval_set.max_bytes or add documents")
    sequences, pieces, firsts = [], [], []
    owner: list[tuple[int, int]] = []  # (document, first target) of each window
    for d, text in enumerate(texts):
        ids = np.array([tokenizer.bos, *tokenizer.encode(text), tokenizer.eos], np.int64)
        sequences.append(ids)
        for start, stop, first in windows(len(ids) - 1, context, stride):
            pieces.append(ids[start : stop + 1])
            firsts.append(first - start)
            owner.append((d, first))
    num_bytes = _byte_counts(documents["doc_id"], texts, sequences, tokenizer)
    per_target = [np.full(len(ids), np.nan) for ids in sequences]  # index 0, bos, is no target
    times_scored = [np.zeros(len(ids), np.int64) for ids in sequences]
    for (d, first), nats in zip(
        owner, sequence_nats(model, pieces, firsts, batch_tokens=batch_tokens), strict=True
    ):
        per_target[d][first : first + len(nats)] = nats
        times_scored[d][first : first + len(nats)] += 1
    assert all((times[1:] == 1).all() and times[0] == 0 for times in times_scored)
    return DocumentScores(
        doc_ids=tuple(documents["doc_id"]),
        sources=tuple(documents["source"]),
        nats=np.array([math.fsum(nats[1:-1]) for nats in per_target]),
        tokens=np.array([len(ids) - 2 for ids in sequences], np.int64),
        num_bytes=num_bytes,
        eos_nats=np.array([nats[-1] for nats in per_target]),
    )


def _byte_counts(
    doc_ids: Sequence[str],
    texts: Sequence[str],
    sequences: Sequence[np.ndarray],
    tokenizer: ByteTokenizer,
) -> np.ndarray:
    """UTF-8 bytes per document, checked against the bytes of its tokens."""
    sizes: dict[int, int] = {}
    counts = np.zeros(len(texts), np.int64)
    for d, (text, ids) in enumerate(zip(texts, sequences, strict=True)):
        counts[d] = len(text.encode("utf-8"))
        of_tokens = 0
        for token in ids[1:-1].tolist():
            if token not in sizes:
                sizes[token] = len(tokenizer.token_bytes(token))
            of_tokens += sizes[token]
        if of_tokens != counts[d]:
            raise DataError(
                f"document {doc_ids[d]!r} has {counts[d]} bytes, its tokens {of_tokens}: the "
                "tokenizer changes the text and bits per byte would be wrong; use a byte-level one"
            )
    return counts


def summarise(
    scores: DocumentScores, *, context: int, stride: int, draws: int, seed: int
) -> dict[str, Any]:
    """The `perplexity` section of report.json; the headline is `bits_per_byte`."""
    per_source = {
        source: _row(scores, np.array([s == source for s in scores.sources]), draws, seed)
        for source in sorted(set(scores.sources))
    }
    total = _row(scores, np.ones(len(scores.nats), bool), draws, seed)
    return total | {
        "bits_per_byte_macro": float(
            np.mean([row["bits_per_byte"] for row in per_source.values() if row["bytes"]])
        ),
        "per_source": per_source,
        "eos_nats_per_document": float(scores.eos_nats.mean()),
        "window": context,
        "stride": stride,
        "bos_rule": BOS_RULE,
        "bootstrap_draws": draws,
        "bootstrap_seed": seed,
    }


def _row(scores: DocumentScores, chosen: np.ndarray, draws: int, seed: int) -> dict[str, Any]:
    nats, num_bytes = scores.nats[chosen], scores.num_bytes[chosen]
    tokens = int(scores.tokens[chosen].sum())
    total = math.fsum(nats)
    row: dict[str, Any] = {
        "documents": int(chosen.sum()), "tokens": tokens,
        "bytes": int(num_bytes.sum()), "nats": total,
    }  # fmt: skip
    if tokens == 0:
        return row
    filled = num_bytes > 0  # a resample of empty documents alone would have no ratio
    bits = nats[filled] / math.log(2)
    interval = bootstrap_ratio(bits, num_bytes[filled], draws=draws, seed=seed)
    return row | {
        "bits_per_byte": bits_per_byte(total, int(num_bytes.sum())),
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "nats_per_token": total / tokens,
        "token_perplexity": math.exp(min(total / tokens, 700.0)),  # e^710 is beyond float64
    }


def write_scores(path: Path, scores: DocumentScores) -> None:
    """Write documents.arrow (an IPC file); `overlap` is empty: the baselines report knows it."""
    table = pa.table(
        [
            list(scores.doc_ids), list(scores.sources), scores.nats, scores.tokens,
            scores.num_bytes, [None] * len(scores.nats), scores.eos_nats,
        ],
        schema=DOCUMENT_SCORES_SCHEMA,
    )  # fmt: skip
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def read_scores(path: Path) -> pa.Table:
    """The table `write_scores` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
