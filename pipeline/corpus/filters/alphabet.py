"""Text is made of letters, whichever alphabet: tables of numbers, art and debris are not."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.words import words_of


class AlphabetFilter(Filter):
    """Bounds on the share of Unicode letters (Han and Kana included) and of U+FFFD."""

    kind: Literal["alphabet"] = "alphabet"
    min_letters: float = Field(
        0.5,  # guess; data-juicer's alphanumeric_filter starts at 0.25, prose has 0.9 and more
        ge=0,
        le=1,
        title="Fewest letters",
        description="Smallest share of letters among the characters that are not white space.",
    )
    max_replacements: float = Field(
        0.01,  # guess: one undecodable character in a hundred is a broken decoding
        ge=0,
        le=1,
        title="Most replacement characters",
        description="Largest share of U+FFFD among the characters that are not white space.",
    )

    reasons: ClassVar[tuple[str, ...]] = ("undecodable", "too_few_letters")

    def measure(self, batch: TextBatch) -> Measures:
        """`letters` and `replacements` as shares of the visible characters; 0 for empty text."""
        words = words_of(batch)
        visible = np.maximum(words.visible, 1)
        return {"letters": words.letters / visible, "replacements": words.replacements / visible}

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive."""
        letters, broken = np.asarray(measures["letters"]), np.asarray(measures["replacements"])
        return self.first_failure([broken > self.max_replacements, letters < self.min_letters])
