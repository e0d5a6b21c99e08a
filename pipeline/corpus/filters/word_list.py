"""Harmful words: a document that uses too many of a list's words is turned away.

The lists are the user's or the small ones shipped here (see wordlists/README.md); a word matches as
a whole in scripts with spaces and anywhere in scripts without. `harmful_lines` drops lines instead.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures, Step
from pipeline.corpus.filters.word_file import WordFile
from pipeline.corpus.rewrites.spans import Text
from pipeline.corpus.wordlists.matcher import TermMatcher
from pipeline.store.errors import DataError


def shipped_lists() -> tuple[WordFile, ...]:
    """The English and the Chinese list that come with the project."""
    return tuple(
        WordFile.model_validate(f"shipped:{name}") for name in ("harmful_en", "harmful_zh")
    )


class HasWords(Step):
    """Base of the steps that look for the words of lists."""

    lists: tuple[WordFile, ...] = Field(
        default_factory=shipped_lists,
        title="Lists",
        description="Files with one word or phrase per line, or shipped:harmful_en, "
        "shipped:harmful_zh.",
    )
    terms: tuple[str, ...] = Field(
        (), title="More words", description="Words and phrases beside those of the lists."
    )

    @model_validator(mode="after")
    def _has_words(self) -> Self:
        """ValueError unless there are words and each of them can be looked for."""
        if not self.lists and not self.terms:
            raise ValueError("has neither lists nor terms; give one, or leave the step out")
        if all(file.path for file in self.lists):  # else it only judges again, without words
            try:
                self.matcher()
            except DataError as error:
                raise ValueError(str(error)) from error
        return self

    def matcher(self) -> TermMatcher:
        """One group of all words; built once per process."""
        return _matcher_of(self.lists, self.terms)


@functools.lru_cache(maxsize=8)
def _matcher_of(lists: tuple[WordFile, ...], terms: tuple[str, ...]) -> TermMatcher:
    return TermMatcher([[*(word for file in lists for word in file.entries()), *terms]])


class HarmfulWords(HasWords, Filter):
    """How many of a list's words are too many."""

    kind: Literal["harmful_words"] = "harmful_words"
    max_matches: int | None = Field(
        None,
        ge=0,
        title="Most matches",
        description="Documents with more matches are dropped; null: only their share counts.",
    )
    max_share: float | None = Field(
        0.01,  # guess: one byte in a hundred; an article about gambling stays below, spam does not
        ge=0,
        le=1,
        title="Largest share",
        description="Documents whose matched bytes are a larger share of the text are dropped; "
        "null: only their number counts.",
    )
    min_matches: int = Field(
        2,  # guess: one word condemns no document by its share
        ge=1,
        title="Fewest matches for the share to count",
    )

    reasons: ClassVar[tuple[str, ...]] = ("too_many", "too_dense")

    def measure(self, batch: TextBatch) -> Measures:
        """`matches`: occurrences (int32); `share`: matched bytes per byte of text."""
        found = self.matcher().find(Text.of(batch))
        share = found.num_bytes / np.maximum(batch.num_bytes, 1)
        return {"matches": found.counts[:, 0], "share": np.minimum(share, 1.0)}

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive."""
        matches, share = np.asarray(measures["matches"]), np.asarray(measures["share"])
        never = np.zeros(len(matches), np.bool_)
        many = never if self.max_matches is None else matches > self.max_matches
        dense = never if self.max_share is None else share > self.max_share
        return self.first_failure([many, dense & (matches >= self.min_matches)])
