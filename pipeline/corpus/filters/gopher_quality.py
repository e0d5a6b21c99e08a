"""Gopher's quality rules (Rae et al. 2021, section A.1), decided as datatrove 0.10.1 decides them.

A word is a token that is not made of symbols alone; shares of words divide by all tokens,
punctuation included, as the peer does.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.kernels.counts import distinct_of, word_counts
from pipeline.corpus.kernels.lines import line_shapes
from pipeline.corpus.kernels.tokens import tokens_of

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, section A.1


class GopherQualityFilter(Filter):
    """Bounds on length, word length, symbols, bullets, ellipses, letters and stop words."""

    kind: Literal["gopher_quality"] = "gopher_quality"
    min_words: int = Field(50, ge=0, title="Fewest words")
    max_words: int = Field(100_000, ge=1, title="Most words")
    min_mean_word_chars: float = Field(
        3, ge=0, title="Shortest mean word", description="Characters per word."
    )
    max_mean_word_chars: float = Field(
        10, ge=0, title="Longest mean word", description="Characters per word."
    )
    max_hashes: float = Field(0.1, ge=0, title="Most # per token")
    max_ellipses: float = Field(0.1, ge=0, title="Most ellipses per token")
    max_bullet_lines: float = Field(
        0.9, ge=0, le=1, title="Lines with a bullet", description="Largest share of all lines."
    )
    max_ellipsis_lines: float = Field(
        0.3, ge=0, le=1, title="Lines ending in an ellipsis", description="Largest share."
    )
    min_alpha_tokens: float = Field(
        0.8, ge=0, le=1, title="Tokens with a letter", description="Smallest share of all tokens."
    )
    min_stop_words: int = Field(
        2, ge=0, title="Different stop words", description="Fewest of `stop_words` to be found."
    )
    stop_words: tuple[str, ...] = Field(
        STOP_WORDS,
        max_length=512,
        title="Stop words",
        description="Case counts. They are measured: changing them needs a new run, not a "
        "rejudgement.",
    )

    ranges: ClassVar[tuple[str, ...]] = ("words", "mean_word_chars")
    reasons: ClassVar[tuple[str, ...]] = (
        "too_few_words",
        "too_many_words",
        "words_too_short",
        "words_too_long",
        "too_many_hashes",
        "too_many_ellipses",
        "too_many_bullet_lines",
        "too_many_ellipsis_lines",
        "too_few_alpha_tokens",
        "too_few_stop_words",
    )

    def measure(self, batch: TextBatch) -> Measures:
        """One value per reason; `mean_word_chars` is 0 without a word."""
        tokens = tokens_of(batch)
        total = np.maximum(tokens.counts, 1)
        words, chars, alpha = word_counts(tokens)
        lines, bullets, endings, hashes, dots, ellipses = line_shapes(batch.data, batch.offsets)
        lines = np.maximum(lines, 1)
        return {
            "words": words,
            "mean_word_chars": chars / np.maximum(words, 1),
            "hashes": hashes / total,
            "ellipses": (dots + ellipses) / total,
            "bullet_lines": bullets / lines,
            "ellipsis_lines": endings / lines,
            "alpha_tokens": alpha / total,
            "stop_words": distinct_of(tokens, self.stop_words),
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive. A text without words has no mean length to object to."""
        found = {name: np.asarray(value) for name, value in measures.items()}
        has_words = found["words"] > 0
        return self.first_failure(
            [
                found["words"] < self.min_words,
                found["words"] > self.max_words,
                has_words & (found["mean_word_chars"] < self.min_mean_word_chars),
                found["mean_word_chars"] > self.max_mean_word_chars,
                found["hashes"] > self.max_hashes,
                found["ellipses"] > self.max_ellipses,
                found["bullet_lines"] > self.max_bullet_lines,
                found["ellipsis_lines"] > self.max_ellipsis_lines,
                found["alpha_tokens"] < self.min_alpha_tokens,
                found["stop_words"] < self.min_stop_words,
            ]
        )
