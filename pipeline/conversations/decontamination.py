"""Keep held-out text out of fine-tuning: a pair that repeats a held-out 13-gram is not trained on.

The corpus is decontaminated by share, documents being long; a pair is short, so one gram is enough.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.conversations.splits import Pairs
from pipeline.corpus.ngrams import HeldOutGrams
from pipeline.corpus.words import find_words

REASON = "held_out_text"


def without_held_out_text(pairs: Pairs, held_out: Sequence[str]) -> Pairs:
    """The same pairs less those for training or validation that share a 13-gram with `held_out`.

    Prompt and answer are looked at together; what is left out is counted under `held_out_text`.
    """
    index = HeldOutGrams.of(find_words(list(held_out)))
    kept = Pairs(held_out=pairs.held_out, removed=pairs.removed.copy())
    for examples, target in ((pairs.train, kept.train), (pairs.validation, kept.validation)):
        texts = [f"{example.question}\n{example.expected}" for example in examples]
        clean = index.overlap(find_words(texts)).share == 0 if texts else np.ones(0, np.bool_)
        keep = [example for example, good in zip(examples, clean, strict=True) if good]
        if len(keep) < len(examples):
            kept.removed[REASON] += len(examples) - len(keep)
        target.extend(keep)
    return kept
