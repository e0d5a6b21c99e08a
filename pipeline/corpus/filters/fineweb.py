r"""FineWeb's own rules (Penedo et al. 2024, section 3.6), decided as datatrove 0.10.1 decides them.

Lines lie between `\n`; blank ones do not count.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.kernels.lines import web_lines
from pipeline.corpus.kernels.tokens import tokens_of


class FineWebFilter(Filter):
    """Bounds on lines that end like sentences, short lines, repeated lines and lists."""

    kind: Literal["fineweb"] = "fineweb"
    min_terminal_lines: float = Field(
        0.12,
        ge=0,
        le=1,
        title="Lines ending in a terminal mark",
        description="Smallest share of lines that end in . ! ? or their like in any script.",
    )
    max_short_lines: float = Field(
        0.67,
        ge=0,
        le=1,
        title="Short lines",
        description="Largest share of lines of 30 characters or fewer.",
    )
    max_duplicate_line_chars: float = Field(
        0.01, ge=0, le=1, title="Characters in duplicate lines", description="Largest share."
    )
    max_newlines: float = Field(
        0.3, ge=0, title="Newlines per token", description="More is a list."
    )

    reasons: ClassVar[tuple[str, ...]] = (
        "empty",
        "too_few_terminal_lines",
        "too_many_short_lines",
        "duplicate_line_chars",
        "too_many_newlines",
    )

    def measure(self, batch: TextBatch) -> Measures:
        """`lines` counts those that are not blank; the others are shares or ratios."""
        lines, terminal, short, again, chars, newlines = web_lines(batch.data, batch.offsets)
        count = np.maximum(lines, 1)
        return {
            "lines": lines,
            "terminal_lines": terminal / count,
            "short_lines": short / count,
            "duplicate_line_chars": again / np.maximum(chars, 1),
            "newlines": newlines / np.maximum(tokens_of(batch).counts, 1),
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive."""
        found = {name: np.asarray(value) for name, value in measures.items()}
        return self.first_failure(
            [
                found["lines"] == 0,
                found["terminal_lines"] < self.min_terminal_lines,
                found["short_lines"] > self.max_short_lines,
                found["duplicate_line_chars"] > self.max_duplicate_line_chars,
                found["newlines"] > self.max_newlines,
            ]
        )
