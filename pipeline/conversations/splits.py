"""Which examples are trained on, which choose the weights, which are only ever measured.

A split is decided per group (an object, a prompt), by hash: adding examples moves no other one.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.conversations.example import Example
from pipeline.corpus.words import find_words

MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so no word of an n-gram is lost
Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")


@dataclass
class Pairs:
    """Examples by split, and what was left out on the way."""

    train: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    held_out: list[Example] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)

    def of(self, split: Split) -> list[Example]:
        """The list of one split."""
        lists = {"train": self.train, "validation": self.validation, "held_out": self.held_out}
        return lists[split]


def unit_hash(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on the names and the seed alone."""
    digest = hashlib.sha256("\x1f".join([str(seed), *names]).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def without_repeats(
    examples: Iterable[Example], seen: set[str], removed: Counter[str]
) -> list[Example]:
    """The examples whose prompt, up to case and white space, is not in `seen`, which grows."""
    kept = []
    for example in examples:
        key = hashlib.sha256(normalised(example.question).encode("utf-8", "replace")).hexdigest()
        if key in seen:
            removed["repeated_prompt"] += 1
        else:
            seen.add(key)
            kept.append(example)
    return kept


def normalised(text: str) -> str:
    """Lower case, single spaces: what counts as the same text."""
    return " ".join(text.lower().split())


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al. 2016): different word n-grams over all word n-grams; 0 without any.

    Words as everywhere here: in scripts without spaces each character is one.
    """
    found = find_words(list(texts))
    words, total = found.hashes, len(found.hashes) - n + 1
    if total < 1:
        return 0.0
    text_of = np.repeat(np.arange(len(texts)), np.diff(found.bounds))
    grams = np.zeros(total, np.uint64)
    for offset in range(n):
        grams = grams * MIX + words[offset : offset + total]
    grams = grams[text_of[:total] == text_of[n - 1 :]]
    return len(np.unique(grams)) / len(grams) if len(grams) else 0.0
