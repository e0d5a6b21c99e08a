"""Which examples are trained on, which choose the weights, which are only ever measured.

A split is decided per group (an object, a prompt), by hash: adding examples moves no other one.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.conversations.example import Example, Message
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
    """The examples whose prompt, up to case and white space, is not in `seen`, which grows.

    A pair's prompt and a conversation that asks the same as its only question are one prompt.
    """
    kept = []
    for example in examples:
        asked = example.question if example.messages else f"user: {example.prompt}"
        key = _digest(asked)
        if key in seen:
            removed["repeated_prompt"] += 1
        else:
            seen.add(key)
            kept.append(example)
    return kept


def without_held_out_turns(pairs: Pairs) -> Pairs:
    """The pairs without training and validation conversations that hold a held-out answer.

    Of one conversation there may be several rows, each a turn longer, or with another ending: what
    an earlier turn answers in training must not be asked in what is only measured. An answer counts
    as the same after the same turns; those that two conversations open with by chance ("hi") have
    others. Removals are counted as `held_out_turn`.
    """
    held_out = {turn for example in pairs.held_out for turn in _answered_turns(example)}
    kept = Pairs(held_out=pairs.held_out, removed=pairs.removed.copy())
    for split in ("validation", "train"):
        for example in pairs.of(split):
            if held_out.isdisjoint(_answered_turns(example)):
                kept.of(split).append(example)
            else:
                kept.removed["held_out_turn"] += 1
    return kept


def _answered_turns(example: Example) -> list[str]:
    """A key of each answer together with all that led to it."""
    pair = (Message("user", example.prompt), Message("assistant", example.answer))
    lines: list[str] = []
    keys = []
    for message in example.messages or pair:
        lines.append(f"{message.role}: {message.content}")
        if message.role == "assistant":
            keys.append(_digest("\n".join(lines)))
    return keys


def _digest(text: str) -> str:
    return hashlib.sha256(normalised(text).encode("utf-8", "replace")).hexdigest()


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
