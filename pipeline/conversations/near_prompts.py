"""Prompts that ask nearly the same: one of them is enough, and a held-out one's twins must go.

held-out, validation, training prompts -> word 3-gram shingles -> MinHash bands -> true Jaccard

An example leaves when it resembles one that stays and comes before it: held-out ones first, so that
what is measured was never trained on in other words.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.conversations.splits import Pairs
from pipeline.corpus.dedup.minhash import Shingles, shingles_of, signatures_of
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.words import find_words

SIGNATURE = SignatureConfig(shingle_words=3, shingle_chars=4, size=128)
BANDS = 32  # of 4: a pair of Jaccard 0.8 meets with probability 1 - (1 - 0.8^4)^32 > 0.9999
MAX_EARLIER = 200  # of one bucket that a prompt is compared with; templates fill buckets
NEAR_HELD_OUT, NEAR_DUPLICATE = "near_held_out_prompt", "near_duplicate_prompt"


def without_near_prompts(pairs: Pairs, min_jaccard: float) -> Pairs:
    """The pairs without those whose prompt resembles, by `min_jaccard` or more, an earlier one's.

    Held-out examples all stay but for their own near-duplicates; removals are counted.
    """
    examples = [*pairs.held_out, *pairs.validation, *pairs.train]
    gone = _near_duplicates([example.question for example in examples], min_jaccard)
    kept = Pairs(removed=pairs.removed.copy())
    held_out = len(pairs.held_out)
    start = 0
    for split in ("held_out", "validation", "train"):
        for index, example in enumerate(pairs.of(split), start):
            if index not in gone:
                kept.of(split).append(example)
            else:
                near_held_out = gone[index] < held_out <= index
                kept.removed[NEAR_HELD_OUT if near_held_out else NEAR_DUPLICATE] += 1
        start += len(pairs.of(split))
    return kept


def _near_duplicates(texts: Sequence[str], min_jaccard: float) -> dict[int, int]:
    """Index of each text that leaves -> that of the earlier one it resembles."""
    shingles = shingles_of(find_words(list(texts)), SIGNATURE)
    signatures = signatures_of(shingles, SIGNATURE)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    width = SIGNATURE.size // BANDS
    gone: dict[int, int] = {}
    for index in range(len(texts)):
        if shingles.counts[index] == 0:
            continue
        row = signatures[index]
        keys = [(band, row[band * width : (band + 1) * width].tobytes()) for band in range(BANDS)]
        candidates = sorted({i for key in keys for i in buckets[key][:MAX_EARLIER]})
        twin = next((i for i in candidates if _jaccard(shingles, i, index) >= min_jaccard), None)
        if twin is not None:
            gone[index] = twin
            continue
        for key in keys:
            buckets[key].append(index)
    return gone


def _jaccard(shingles: Shingles, one: int, other: int) -> float:
    first = shingles.hashes[shingles.bounds[one] : shingles.bounds[one + 1]]
    second = shingles.hashes[shingles.bounds[other] : shingles.bounds[other + 1]]
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
