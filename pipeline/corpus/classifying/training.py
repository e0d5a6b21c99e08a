"""Train a linear filter: texts one wants more of against ordinary ones, in seconds, on one core.

    texts -> hashed features -> logistic regression (AdaGrad) -> held-out figures

Both classes weigh the same, whatever their sizes. The same texts, settings and machine give the
same bytes. Texts that occur on both sides are left out and counted.

Legend: N texts, F features of all texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import BaseModel, ConfigDict, Field

from pipeline.corpus.classifying.features import F32, list_features
from pipeline.corpus.classifying.linear import LinearFilter
from pipeline.corpus.document import TextBatch
from pipeline.corpus.intervals import auc_interval, wilson
from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text
from pipeline.store.errors import DataError

MIN_EXAMPLES = 20  # of each class; below, the held-out figures would mean nothing
TYPICAL_SCORES = 101  # quantiles of the calibration scores kept in the facts


class FilterConfig(BaseModel):
    """How a linear filter is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: int = Field(
        18, ge=10, le=24, title="Bits of a bucket", description="2^bits weights of four bytes."
    )
    byte_ngram: int | None = Field(
        None,
        ge=2,
        le=12,
        title="Bytes per n-gram",
        description="Adds n-grams of bytes, which see through odd spellings; half as fast.",
    )
    epochs: int = Field(10, ge=1, le=100, title="Epochs")
    learning_rate: float = Field(
        1.0,  # see the table in docs/content.md
        gt=0,
        le=100,
        title="Learning rate",
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, title="Held-out share", description="Texts that only measure."
    )
    keep: Literal["above", "below"] = Field(
        "above",
        title="Keep",
        description="above: the positives are what one wants (quality); below: what one does not "
        "want (toxicity).",
    )
    keep_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Share to keep",
        description="Sets the threshold so that this share of the calibration texts stays; null: "
        "the threshold is 0.5.",
    )
    seed: int = Field(0, ge=0, title="Seed")


@dataclass(frozen=True)
class _Split:
    texts: list[str]
    labels: npt.NDArray[np.bool_]
    is_held_out: npt.NDArray[np.bool_]
    contradictions: int
    repeated: int


def train_filter(
    config: FilterConfig,
    positives: Sequence[str],
    negatives: Sequence[str],
    *,
    calibration: Sequence[str] | None = None,
    facts: dict[str, Any] | None = None,
) -> LinearFilter:
    """Train and measure; the threshold is set on `calibration`, else on the held-out texts."""
    split = _split(config, positives, negatives)
    text = _text(split.texts)
    byte_ngram = config.byte_ngram or 0
    buckets, bounds = list_features(text, bits=config.bits, byte_ngram=byte_ngram)
    rows = np.flatnonzero(~split.is_held_out)
    rng = np.random.default_rng(config.seed)
    orders = np.stack([rng.permutation(rows) for _ in range(config.epochs)])
    weights, bias = _fit(
        buckets, bounds, split.labels, orders, config.learning_rate, bits=config.bits
    )
    trained = LinearFilter(weights, bias, byte_ngram, 0.5, config.keep, {})
    held_out = [split.texts[row] for row in np.flatnonzero(split.is_held_out)]
    scores = trained.scores(_text(held_out))
    base = trained.scores(_text(calibration)) if calibration is not None else scores
    threshold = 0.5 if config.keep_share is None else _threshold(base, config)
    kept = base >= threshold if config.keep == "above" else base <= threshold
    found = {
        **(facts or {}),
        "config": config.model_dump(mode="json"),
        "examples": {
            "positives": int(split.labels.sum()),
            "negatives": int((~split.labels).sum()),
            "on_both_sides": split.contradictions,
            "repeated": split.repeated,
        },
        "held_out": measured(scores, split.labels[split.is_held_out]),
        "calibration": {
            "texts": len(base),
            "kept_share": float(kept.mean()),
            "quantiles": np.quantile(base, np.linspace(0, 1, TYPICAL_SCORES)).round(6).tolist(),
        },
    }
    return LinearFilter(weights, bias, byte_ngram, threshold, config.keep, found)


def measured(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy at 0.5 and area under the ROC curve, each with its 95 % interval."""
    positives, negatives = scores[labels], np.sort(scores[~labels])
    correct = int(((scores >= 0.5) == labels).sum())
    below = np.searchsorted(negatives, positives, side="left")
    not_above = np.searchsorted(negatives, positives, side="right")
    auc = float((below + not_above).mean() / 2 / len(negatives))
    return {
        "texts": len(scores),
        "positives": len(positives),
        "accuracy": correct / len(scores),
        "accuracy_interval": list(wilson(correct, len(scores))),
        "auc": auc,
        "auc_interval": list(auc_interval(auc, len(positives), len(negatives))),
    }


def _threshold(scores: npt.NDArray[np.float64], config: FilterConfig) -> float:
    """The score of the last text that stays."""
    share = config.keep_share or 1.0
    wanted = max(1, round(share * len(scores)))
    ordered = np.sort(scores)
    return float(ordered[len(ordered) - wanted] if config.keep == "above" else ordered[wanted - 1])


def _split(config: FilterConfig, positives: Sequence[str], negatives: Sequence[str]) -> _Split:
    """Distinct texts in a fixed order; which are held out depends on each text alone."""
    distinct = [dict.fromkeys(positives), dict.fromkeys(negatives)]
    both = distinct[0].keys() & distinct[1].keys()
    repeated = len(positives) + len(negatives) - len(distinct[0]) - len(distinct[1])
    sides = [[text for text in side if text not in both] for side in distinct]
    texts = sides[0] + sides[1]
    labels = np.arange(len(texts)) < len(sides[0])
    draws = [
        xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed=config.seed)
        for text in texts
    ]
    is_held_out = np.array(draws, np.uint64) < np.uint64(config.held_out * 2**64)
    for name, side in (("positive", labels), ("negative", ~labels)):
        count = int(side.sum())
        if count < MIN_EXAMPLES:
            raise DataError(
                f"{count} distinct {name} examples; at least {MIN_EXAMPLES} of each class are "
                "needed, some hundreds for a useful filter"
            )
        held = int((side & is_held_out).sum())
        if held == 0 or held == count:
            raise DataError(
                f"{held} of {count} {name} examples are held out; give more examples, or set "
                "held_out nearer to 0.5"
            )
    return _Split(texts, labels, is_held_out, len(both), repeated)


def _text(texts: Sequence[str]) -> Text:
    return Text.of(TextBatch.of([t.encode("utf-8", "replace").decode() for t in texts]))


def _fit(
    buckets: npt.NDArray[np.int32],
    bounds: I64,
    labels: npt.NDArray[np.bool_],
    orders: I64,
    learning_rate: float,
    *,
    bits: int,
) -> tuple[F32, float]:
    """(weights, bias); `orders` (epochs, texts) says which text comes when."""
    share = np.bincount(labels[orders[0]], minlength=2) / orders.shape[1]  # negatives, positives
    balance = (0.5 / share).astype(np.float64)
    weights = np.zeros(1 << bits, np.float64)
    squares = np.full(len(weights), 1e-12)  # never divide by zero
    bias = _descend(buckets, bounds, labels, orders, learning_rate, balance, weights, squares)
    return weights.astype(np.float32), float(bias)


@leaf
def _descend(
    buckets: npt.NDArray[np.int32],
    bounds: I64,
    labels: npt.NDArray[np.bool_],
    orders: I64,
    learning_rate: float,
    balance: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
) -> float:
    """AdaGrad (Duchi et al. 2011) on the logistic loss; returns the bias."""
    bias, bias_square = 0.0, 1e-12
    for epoch in range(orders.shape[0]):
        for i in range(orders.shape[1]):
            row = orders[epoch, i]
            first, last = bounds[row], bounds[row + 1]
            if first == last:
                continue
            total = 0.0
            for k in range(first, last):
                total += weights[buckets[k]]
            score = bias + total / (last - first)
            wanted = 1.0 if labels[row] else 0.0
            error = (1.0 / (1.0 + np.exp(-score)) - wanted) * balance[1 if labels[row] else 0]
            bias_square += error * error
            bias -= learning_rate * error / np.sqrt(bias_square)
            step = error / (last - first)
            for k in range(first, last):
                bucket = buckets[k]
                squares[bucket] += step * step
                weights[bucket] -= learning_rate * step / np.sqrt(squares[bucket])
    return bias
