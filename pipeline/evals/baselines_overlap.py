"""How much of each held-out document the training text contains, in word 13-grams.

    held-out texts -> their 13-grams -> which occur in the training text -> share per document

Documents at or below the limit form the clean subset: scores on it cannot come from copying.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.corpus.ngrams import OVERLAP_WORDS, HeldOutGrams, gram_hashes
from pipeline.corpus.words import find_words
from pipeline.evals.baselines_ngram import Floats

_BATCH_CHARS = 4 << 20  # bounds the memory of one word table to about 50 MB


def grams_in_training(held_out: Sequence[str], training: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which distinct held-out 13-grams (sorted by hash) occur in `training`, (D,)."""
    index = HeldOutGrams.of(find_words(list(held_out)))
    seen = np.zeros(len(index.grams), bool)
    for batch in _batches(training):
        seen[index.overlap(find_words(batch)).grams] = True
    return seen


def overlap_shares(held_out: Sequence[str], packed: npt.NDArray[np.uint8]) -> Floats:
    """Share of each held-out document's 13-grams that occur in the training text, (documents,).

    `packed` is `grams_in_training` as bits. A document of fewer than 13 words counts as 0.
    """
    words = find_words(list(held_out))
    index = HeldOutGrams.of(words)
    seen = np.unpackbits(packed, count=len(index.grams)).astype(bool)
    hashes, bounds = gram_hashes(words, OVERLAP_WORDS)
    hit = np.concatenate([[0], np.cumsum(seen[np.searchsorted(index.grams, hashes)])])
    return np.diff(hit[bounds]) / np.maximum(np.diff(bounds), 1)


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
