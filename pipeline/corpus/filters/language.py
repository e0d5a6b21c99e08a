"""Only documents in the languages one wants, and only where the identifier is sure enough."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.language import languages_of
from pipeline.corpus.languages.codes import checked_code


class LanguageFilter(Filter):
    """Bounds on a document's language, the identifier's score and the way Chinese is written."""

    kind: Literal["language"] = "language"
    keep: tuple[str, ...] = Field(
        (),
        title="Keep",
        description="Languages to keep (ISO 639-1 codes such as en, zh; und: could not be told); "
        "empty: every language.",
    )
    min_score: float = Field(
        0.0,  # FineWeb keeps 0.65 and more, but of another identifier's score
        ge=0,
        le=1,
        title="Lowest score",
        description="Smallest share of the first 1,000 characters' letters in that language.",
    )
    max_traditional: float = Field(
        1.0,
        ge=0,
        le=1,
        title="Most traditional characters",
        description="Of a Chinese document's characters that tell simplified from traditional, "
        "the largest share of traditional ones; 0.5 keeps simplified text only.",
    )

    reasons: ClassVar[tuple[str, ...]] = ("other_language", "unsure", "traditional")

    @field_validator("keep")
    @classmethod
    def _are_codes(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(checked_code(code) for code in keep))

    def measure(self, batch: TextBatch) -> Measures:
        """`code` (strings), `score`, and `traditional`: NaN where the text is not Chinese."""
        found = languages_of(batch)
        return {
            "code": np.array(found.codes, dtype=object),
            "score": found.scores,
            "traditional": found.traditional,
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive; what was not measured, None or NaN, passes."""
        codes = np.asarray(measures["code"])
        other = np.zeros(len(codes), bool)
        if self.keep:
            passing = {*self.keep, None}
            other = np.array([code not in passing for code in codes.tolist()], bool)
        score = np.asarray(measures["score"])
        return self.first_failure(
            [
                other,
                score < np.float32(self.min_score),
                np.asarray(measures["traditional"]) > np.float32(self.max_traditional),
            ]
        )
