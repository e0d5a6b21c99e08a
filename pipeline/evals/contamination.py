"""Held-out figures apart for documents that the training text holds in part, and for clean ones.

    share of a document's word 13-grams that occur in the training text > limit -> dirty, else clean

Thirteen words is GPT-3's choice (Brown et al. 2020, appendix C). Where the clean figure is as good
as the whole one, the whole one owes nothing to copying.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.corpus.ngrams import OVERLAP_WORDS
from pipeline.evals.baselines_overlap import grams_in_training, overlap_shares
from pipeline.evals.document_scores import DocumentScores
from pipeline.evals.perplexity import score_row

CLEAN_OVERLAP = 0.10  # as evaluation set and baselines have it; GPT-3 calls one 13-gram dirty


def overlap_with(texts: Sequence[str], training: Iterable[str]) -> np.ndarray:
    """(D,) share of each text's 13-grams that occur in `training`; 0 below 13 words."""
    return overlap_shares(texts, np.packbits(grams_in_training(texts, training)))


def contamination(
    scores: DocumentScores, overlap: np.ndarray, *, limit: float, draws: int, seed: int
) -> dict[str, Any]:
    """`clean` and `dirty` rows as in the perplexity section, with the rule that parted them."""
    clean = overlap <= limit
    return {
        "overlap_words": OVERLAP_WORDS,
        "limit": limit,
        "mean_overlap": float(overlap.mean()),
        "documents_with_any": int((overlap > 0).sum()),
        "clean": score_row(scores, clean, draws=draws, seed=seed),
        "dirty": score_row(scores, ~clean, draws=draws, seed=seed),
    }
