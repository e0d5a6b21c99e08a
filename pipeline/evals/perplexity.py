"""Bits per byte and perplexities of held-out documents.

Every document is scored alone: `bos t1 .. tn eos`. The text's tokens t1..tn count, the first given
bos; eos is reported apart. Longer documents go through windows of L inputs that move by `stride`;
a token is scored once, in the first window that reaches it, and the last window is full as well:

    L = 4, stride = 3    bos t1 t2 t3 | score t1 t2 t3 t4
                               t3 t4 t5 t6 | score t5 t6 t7
                                  t4 t5 t6 t7 | score t8

so every token after the first window sees at least L - stride tokens before it. With stride = L
these are lm-evaluation-harness's windows (loglikelihood_rolling, context_len=1). Sums run over the
corpus in float64; there is one division, at the end.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from model.language_model import LanguageModel
from pipeline.corpus.document import TextBatch
from pipeline.corpus.language import languages_of
from pipeline.evals.document_scores import DocumentScores
from pipeline.evals.scoring import BATCH_TOKENS, sequence_outcomes
from pipeline.evals.statistics import bits_per_byte, bootstrap_ratio
from pipeline.evals.token_tally import TokenTally
from pipeline.store.errors import DataError

BOS_RULE = "bos before every document, only in its first window; text tokens scored, eos apart"
_SPACE = re.compile(r"\s+")
_LARGEST = 700.0  # e^710 is beyond float64


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


def windows(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """Cover `length` targets: (start, stop, first) reads inputs start..stop-1, scores first..stop.

    Positions are those of the sequence `bos t1 .. tn`.
    """
    spans = [(0, min(context, length), 1)]
    while spans[-1][1] < length:
        first = spans[-1][1] + 1
        stop = min(first - 1 + stride, length)
        spans.append((stop - context, stop, first))
    return spans


def _pieces(num_tokens: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """`windows` over the text's tokens and eos, which in a long document has a window of its own.

    There it is given the last half of a context, and no text token is scored otherwise than it
    would be without eos.
    """
    if num_tokens < context:
        return windows(num_tokens + 1, context, stride)
    eos = num_tokens + 1
    return [*windows(num_tokens, context, stride), (eos - max(1, context // 2), eos, eos)]


def score_documents(
    model: LanguageModel,
    tokenizer: ByteTokenizer,
    documents: Mapping[str, Sequence[str]],
    *,
    context: int,
    stride: int,
    batch_tokens: int = BATCH_TOKENS,
) -> DocumentScores:
    """Score the columns `doc_id, text, source` (`language`: told from the text where absent).

    Every text token is scored exactly once. DataError for an eval set without text, and when
    tokens and text differ in bytes.
    """
    if not 1 <= stride <= context:
        raise DataError(f"stride={stride} must be in 1..{context}, the model's context")
    if model.config.attention != "causal":
        raise DataError(
            f"the model's attention is {model.config.attention}: it would see what it is asked "
            "for; use its pseudo-perplexity"
        )
    texts = documents["text"]
    if not any(texts):
        raise DataError("the eval set holds no text; raise eval_set.max_bytes or add documents")
    sequences, windowed, firsts = [], [], []
    owner: list[tuple[int, int]] = []  # (document, first target) of each window
    for d, text in enumerate(texts):
        ids = np.array([tokenizer.bos, *tokenizer.encode(text), tokenizer.eos], np.int64)
        sequences.append(ids)
        for start, stop, first in _pieces(len(ids) - 2, context, stride):
            windowed.append(ids[start : stop + 1])
            firsts.append(first - start)
            owner.append((d, first))
    num_bytes = byte_counts(documents["doc_id"], texts, sequences, tokenizer)
    per_target = [np.full(len(ids), np.nan) for ids in sequences]  # index 0, bos, is no target
    times_scored = [np.zeros(len(ids), np.int64) for ids in sequences]
    tally = TokenTally()
    outcomes = sequence_outcomes(
        model, windowed, firsts, confidence=True, batch_tokens=batch_tokens
    )
    for (d, first), found in zip(owner, outcomes, strict=True):
        stop = first + len(found.nats)
        per_target[d][first:stop] = found.nats
        times_scored[d][first:stop] += 1
        of_text = slice(0, min(stop, len(sequences[d]) - 1) - first)  # eos is no token of the text
        positions = np.arange(first, stop)[of_text]
        tally.add(positions, found.nats[of_text], found.confidence[of_text], found.hits[of_text])
    # A text token more or fewer would change every figure.
    assert all((times[1:] == 1).all() and times[0] == 0 for times in times_scored)
    return DocumentScores(
        doc_ids=tuple(documents["doc_id"]),
        sources=tuple(documents["source"]),
        languages=languages_in(documents),
        nats=np.array([math.fsum(nats[1:-1]) for nats in per_target]),
        tokens=np.array([len(ids) - 2 for ids in sequences], np.int64),
        num_bytes=num_bytes,
        words=words_in(texts),
        eos_nats=np.array([nats[-1] for nats in per_target]),
        tally=tally,
    )


def languages_in(documents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The column `language`, else told from the texts."""
    given = documents.get("language")
    if given is not None:
        return tuple(given)
    return tuple(languages_of(TextBatch.of(documents["text"])).codes)


def words_in(texts: Sequence[str]) -> np.ndarray:
    """(D,) pieces between white space, as lm-evaluation-harness counts words."""
    return np.array([len(_SPACE.split(text)) if text else 0 for text in texts], np.int64)


def byte_counts(
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
    """The `perplexity` section of report.json; the headline is `bits_per_byte`.

    The total is micro (one sum over all documents); `bits_per_byte_macro` is the plain mean of the
    sources' figures, `bits_per_byte_macro_languages` that of the languages'.
    """
    per_source = _rows(scores, scores.sources, draws, seed)
    per_language = _rows(scores, scores.languages, draws, seed)
    total = score_row(scores, np.ones(len(scores.nats), bool), draws=draws, seed=seed)
    return total | {
        "bits_per_byte_macro": _macro(per_source),
        "bits_per_byte_macro_languages": _macro(per_language),
        "per_source": per_source,
        "per_language": per_language,
        "eos_nats_per_document": float(scores.eos_nats.mean()),
        "position_curve": scores.tally.position_curve(),
        "calibration": scores.tally.calibration(),
        "window": context,
        "stride": stride,
        "bos_rule": BOS_RULE,
        "bootstrap_draws": draws,
        "bootstrap_seed": seed,
    }


def _rows(
    scores: DocumentScores, names: Sequence[str], draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    labels = np.array(names, object)
    return {
        name: score_row(scores, labels == name, draws=draws, seed=seed)
        for name in sorted(set(names))
    }


def _macro(rows: Mapping[str, Mapping[str, Any]]) -> float:
    return float(np.mean([row["bits_per_byte"] for row in rows.values() if row["bytes"]]))


def score_row(
    scores: DocumentScores, chosen: np.ndarray, *, draws: int, seed: int
) -> dict[str, Any]:
    """Sums and figures of the documents where `chosen` (D,) is true; without text, sums only."""
    nats, num_bytes = scores.nats[chosen], scores.num_bytes[chosen]
    tokens, words = int(scores.tokens[chosen].sum()), int(scores.words[chosen].sum())
    total = math.fsum(nats)
    row: dict[str, Any] = {
        "documents": int(chosen.sum()), "tokens": tokens, "words": words,
        "bytes": int(num_bytes.sum()), "nats": total,
    }  # fmt: skip
    if tokens == 0:
        return row
    filled = num_bytes > 0  # a resample of empty documents alone would have no ratio
    bits = nats[filled] / math.log(2)
    interval = bootstrap_ratio(bits, num_bytes[filled], draws=draws, seed=seed)
    return row | {
        "bits_per_byte": bits_per_byte(total, row["bytes"]),
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "nats_per_token": total / tokens,
        "token_perplexity": math.exp(min(total / tokens, _LARGEST)),
        "word_perplexity": math.exp(min(total / words, _LARGEST)),
        "byte_perplexity": math.exp(min(total / row["bytes"], _LARGEST)),
    }
