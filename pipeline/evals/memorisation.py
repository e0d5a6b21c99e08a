"""Does the model recite? The openings of documents it was trained on, beside ones it never saw.

    ids of a document  p1 .. pP c1 .. cC     bos p1 .. pP -> greedy -> C tokens: are they c1 .. cC?

A continuation is verbatim when all C tokens are equal (Carlini et al. 2023, arXiv 2202.07646: 50
tokens after a prefix of 50 or more). What held-out documents give is what any fluent model could
guess; only the excess is memory.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.generate import generate
from model.language_model import LanguageModel
from pipeline.evals.statistics import wilson

ROWS = 64  # continued at once


@dataclass(frozen=True)
class Recital:
    """How long the prefixes and the continuations are, in tokens."""

    prefix: int
    continuation: int

    @property
    def needed(self) -> int:
        """Tokens a document must have."""
        return self.prefix + self.continuation

    def fits(self, context: int) -> bool:
        """Whether bos, prefix and continuation fit the model."""
        return 1 + self.needed <= context


def choose_rows(
    lengths: Sequence[int] | np.ndarray, needed: int, most: int, seed: int
) -> list[int]:
    """At most `most` of the documents of at least `needed` tokens, drawn evenly, in order."""
    long_enough = np.flatnonzero(np.asarray(lengths) >= needed)
    if len(long_enough) > most:
        rng = np.random.default_rng(seed)
        long_enough = np.sort(rng.choice(long_enough, most, replace=False))
    return [int(row) for row in long_enough]


def matched_tokens(
    model: LanguageModel, bos: int, documents: Sequence[Sequence[int]], recital: Recital
) -> np.ndarray:
    """(D,) how many tokens of each continuation the greedy one has before it first differs."""
    matched = np.zeros(len(documents), np.int64)
    for start in range(0, len(documents), ROWS):
        batch = documents[start : start + ROWS]
        prompts = [[bos, *map(int, ids[: recital.prefix])] for ids in batch]
        answers = generate(model, prompts, max_tokens=recital.continuation, temperature=0.0)
        for i, (ids, answer) in enumerate(zip(batch, answers, strict=True)):
            wanted = ids[recital.prefix : recital.needed]
            same = [int(a) == int(b) for a, b in zip(wanted, answer, strict=False)]
            matched[start + i] = same.index(False) if False in same else len(same)
    return matched


def memorisation(
    model: LanguageModel,
    bos: int,
    training: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    recital: Recital,
) -> dict[str, Any]:
    """Shares of verbatim continuations of both, and their difference with a 95 % interval.

    `excess` is None where one side has no document long enough.
    """
    found = {
        "training": matched_tokens(model, bos, training, recital),
        "held_out": matched_tokens(model, bos, held_out, recital),
    }
    report: dict[str, Any] = {
        "prefix_tokens": recital.prefix,
        "continuation_tokens": recital.continuation,
        **{side: _side(matched, recital) for side, matched in found.items()},
        "excess": None,
    }
    if len(training) and len(held_out):
        report["excess"] = _difference(report["training"], report["held_out"])
    return report


def _side(matched: np.ndarray, recital: Recital) -> dict[str, Any]:
    verbatim = int((matched == recital.continuation).sum())
    interval = wilson(verbatim, len(matched))
    return {
        "documents": len(matched),
        "verbatim": verbatim,
        "share": verbatim / len(matched) if len(matched) else None,
        "low": interval.low,
        "high": interval.high,
        "matched_tokens": math.fsum(matched) / len(matched) if len(matched) else None,
    }


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Share of one minus the other's, with Newcombe's hybrid score interval.

    Newcombe 1998 (Statistics in Medicine 17:873, method 10): of use where both shares are 0, too.
    """
    delta = one["share"] - other["share"]
    below = math.hypot(one["share"] - one["low"], other["high"] - other["share"])
    above = math.hypot(one["high"] - one["share"], other["share"] - other["low"])
    return {"share": delta, "low": delta - below, "high": delta + above}
