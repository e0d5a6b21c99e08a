"""Text that repeats itself: Gopher's fractions of duplicate lines, paragraphs and n-grams.

Constants: Rae et al. 2021 ("Gopher"), table A1. For scripts without spaces a word is a character,
so frequent n-grams get FineWeb-2's bounds for Chinese and duplicate runs are 13 characters long.
Everything is a share of the document's own word characters, lines or paragraphs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.filters.grams import gram_measures
from pipeline.corpus.kernels.lines import trimmed_pieces
from pipeline.corpus.words import words_of

TOP_GRAMS = (2, 3, 4)
DUPLICATE_GRAMS = (5, 6, 7, 8, 9, 10)
SPACELESS_RUN = 13  # characters; ChineseWebText's n-gram length
Share = Annotated[float, Field(ge=0, le=1)]
TopShares = tuple[Share, Share, Share]
RunShares = tuple[Share, Share, Share, Share, Share, Share]


class RepetitionFilter(Filter):
    """Largest tolerated shares of repeated lines, paragraphs and word n-grams."""

    kind: Literal["repetition"] = "repetition"
    max_duplicate_lines: float = Field(
        0.30, ge=0, le=1, title="Duplicate lines", description="Share of lines seen before."
    )
    max_duplicate_line_chars: float = Field(0.20, ge=0, le=1, title="Characters in duplicate lines")
    max_duplicate_paragraphs: float = Field(
        0.30, ge=0, le=1, title="Duplicate paragraphs", description="Between blank lines."
    )
    max_duplicate_paragraph_chars: float = Field(
        0.20, ge=0, le=1, title="Characters in duplicate paragraphs"
    )
    max_top_grams: TopShares = Field(
        (0.20, 0.18, 0.16),
        title="Most frequent 2-, 3-, 4-gram",
        description="Largest share of characters in the most frequent word n-gram.",
    )
    max_duplicate_grams: RunShares = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
        title="Duplicate 5- to 10-grams",
        description="Largest share of characters in word n-grams seen before.",
    )
    max_spaceless_top_grams: TopShares = Field(
        (0.256, 0.201, 0.171),  # FineWeb-2 configs/cmn_Hani.yml, there for segmented words
        title="Most frequent 2-, 3-, 4-gram of characters",
        description="For scripts written without spaces.",
    )
    max_spaceless_duplicate_run: float = Field(
        0.5,  # ChineseWebText (Chen et al. 2023): 13-character repeats
        ge=0,
        le=1,
        title="Duplicate runs of 13 characters",
        description="For scripts written without spaces.",
    )

    reasons: ClassVar[tuple[str, ...]] = (
        "duplicate_lines",
        "duplicate_line_chars",
        "duplicate_paragraphs",
        "duplicate_paragraph_chars",
        *(f"top_{n}_gram" for n in TOP_GRAMS),
        *(f"duplicate_{n}_gram" for n in DUPLICATE_GRAMS),
        "duplicate_run",
    )

    def measure(self, batch: TextBatch) -> Measures:
        """Shares in 0 to 1 for every reason, and `spaceless`: which set of bounds applies."""
        words = words_of(batch)
        found: Measures = {"spaceless": words.is_spaceless}
        for unit, newlines in (("line", 1), ("paragraph", 2)):
            found[f"duplicate_{unit}s"], found[f"duplicate_{unit}_chars"] = duplicate_pieces(
                batch, newlines
            )
        grams = gram_measures(words, top=TOP_GRAMS, duplicate=(*DUPLICATE_GRAMS, SPACELESS_RUN))
        found |= {f"top_{n}_gram": grams.top[n] for n in TOP_GRAMS}
        found |= {f"duplicate_{n}_gram": grams.duplicate[n] for n in DUPLICATE_GRAMS}
        found["duplicate_run"] = grams.duplicate[SPACELESS_RUN]
        return found

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """A share equal to its bound is kept."""
        spaceless = np.asarray(measures["spaceless"], np.bool_)

        def above(name: str, spaced_limit: float, spaceless_limit: float) -> npt.NDArray[np.bool_]:
            limit = np.where(spaceless, spaceless_limit, spaced_limit)
            return np.asarray(np.asarray(measures[name]) > limit)

        pieces = (
            self.max_duplicate_lines,
            self.max_duplicate_line_chars,
            self.max_duplicate_paragraphs,
            self.max_duplicate_paragraph_chars,
        )
        limits = [(limit, limit) for limit in pieces]
        limits += zip(self.max_top_grams, self.max_spaceless_top_grams, strict=True)
        limits += [(limit, 1.0) for limit in self.max_duplicate_grams]
        limits += [(1.0, self.max_spaceless_duplicate_run)]
        return self.first_failure(
            [above(name, *pair) for name, pair in zip(self.reasons, limits, strict=True)]
        )


def duplicate_pieces(
    batch: TextBatch, newlines: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """((N,) share of pieces seen before in the document, (N,) share of their characters).

    Pieces lie between runs of `newlines` newlines, trimmed; blank lines are no repetition.
    """
    pieces, again, chars, again_chars = trimmed_pieces(batch.data, batch.offsets, newlines)
    return again / np.maximum(pieces, 1), again_chars / np.maximum(chars, 1)
