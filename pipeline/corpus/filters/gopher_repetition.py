r"""Gopher's repetition rules (Rae et al. 2021, table A1), decided as datatrove 0.10.1 decides them.

All shares are of the whole text's characters, white space included. Lines lie between runs of
`\n`, paragraphs between runs of two and more.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.kernels.grams import AGAIN_ORDERS, TOP_ORDERS, gram_chars
from pipeline.corpus.kernels.lines import repeated_pieces
from pipeline.corpus.kernels.tokens import tokens_of

Share = Annotated[float, Field(ge=0)]  # overlapping n-grams can cover more than all of a text
TopShares = tuple[Share, Share, Share]
AgainShares = tuple[Share, Share, Share, Share, Share, Share]


class GopherRepetitionFilter(Filter):
    """Largest tolerated shares of repeated paragraphs, lines and word n-grams."""

    kind: Literal["gopher_repetition"] = "gopher_repetition"
    max_duplicate_paragraphs: float = Field(
        0.30, ge=0, le=1, title="Duplicate paragraphs", description="Share seen before in the text."
    )
    max_duplicate_paragraph_chars: float = Field(
        0.20, ge=0, le=1, title="Characters in duplicate paragraphs"
    )
    max_duplicate_lines: float = Field(
        0.30, ge=0, le=1, title="Duplicate lines", description="Share seen before in the text."
    )
    max_duplicate_line_chars: float = Field(0.20, ge=0, le=1, title="Characters in duplicate lines")
    max_top_grams: TopShares = Field(
        (0.20, 0.18, 0.16),
        title="Most frequent 2-, 3-, 4-gram",
        description="Share of characters in the most frequent word n-gram.",
    )
    max_duplicate_grams: AgainShares = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
        title="Duplicate 5- to 10-grams",
        description="Share of characters in word n-grams seen before.",
    )

    reasons: ClassVar[tuple[str, ...]] = (
        "empty",
        "duplicate_paragraphs",
        "duplicate_paragraph_chars",
        "duplicate_lines",
        "duplicate_line_chars",
        *(f"top_{n}_gram" for n in TOP_ORDERS),
        *(f"duplicate_{n}_gram" for n in AGAIN_ORDERS),
    )

    def measure(self, batch: TextBatch) -> Measures:
        """A share per reason; `chars` of the text. Overlapping n-grams can cover more than 1."""
        tokens = tokens_of(batch)
        pieces = repeated_pieces(batch.data, batch.offsets)
        chars = pieces[6]
        total = np.maximum(chars, 1)
        top, again = gram_chars(tokens.hashes, tokens.chars, tokens.bounds)
        return {
            "chars": chars,
            "duplicate_paragraphs": pieces[4] / np.maximum(pieces[3], 1),
            "duplicate_paragraph_chars": pieces[5] / total,
            "duplicate_lines": pieces[1] / np.maximum(pieces[0], 1),
            "duplicate_line_chars": pieces[2] / total,
            **{f"top_{n}_gram": top[k] / total for k, n in enumerate(TOP_ORDERS)},
            **{f"duplicate_{n}_gram": again[k] / total for k, n in enumerate(AGAIN_ORDERS)},
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """A share equal to its bound is kept."""
        limits = (
            self.max_duplicate_paragraphs,
            self.max_duplicate_paragraph_chars,
            self.max_duplicate_lines,
            self.max_duplicate_line_chars,
            *self.max_top_grams,
            *self.max_duplicate_grams,
        )
        shares = [np.asarray(measures[name]) for name in self.reasons[1:]]
        above = [share > limit for share, limit in zip(shares, limits, strict=True)]
        return self.first_failure([np.asarray(measures["chars"]) == 0, *above])
