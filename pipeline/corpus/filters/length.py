"""Too short to teach anything, or so long that something went wrong."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.words import words_of


class LengthFilter(Filter):
    """Bounds on words and characters; in scripts without spaces a word is a character."""

    kind: Literal["length"] = "length"
    min_words: int = Field(
        20,  # FineWeb-2's min_doc_words (Penedo et al. 2025); Gopher asks for 50
        ge=0,
        title="Fewest words",
        description="Documents with fewer words are dropped (characters, in Chinese and the like).",
    )
    max_words: int = Field(
        1_000_000,  # guess: Gopher's 100,000 would drop books and large reference modules
        ge=1,
        title="Most words",
        description="Documents with more words are dropped.",
    )
    min_chars: int = Field(
        20, ge=0, title="Fewest characters", description="White space does not count."
    )
    max_chars: int = Field(
        5_000_000,  # guess: bounds memory and catches binary dumps
        ge=1,
        title="Most characters",
        description="White space does not count.",
    )

    ranges: ClassVar[tuple[str, ...]] = ("words", "chars")
    reasons: ClassVar[tuple[str, ...]] = (
        "too_few_chars",
        "too_few_words",
        "too_many_chars",
        "too_many_words",
    )

    def measure(self, batch: TextBatch) -> Measures:
        """`chars`: code points that are not white space; `words`: see `words.py`."""
        words = words_of(batch)
        return {"chars": words.visible, "words": words.counts}

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive."""
        chars, words = np.asarray(measures["chars"]), np.asarray(measures["words"])
        return self.first_failure(
            [
                chars < self.min_chars,
                words < self.min_words,
                chars > self.max_chars,
                words > self.max_words,
            ]
        )
