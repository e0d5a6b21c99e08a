"""Chinese and Japanese text is written in Han characters and Kana; which Chinese is noted."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.kernels.scripts import script_counts


class HanFilter(Filter):
    """Bounds on the shares of Han characters and Kana among the visible characters."""

    kind: Literal["han"] = "han"
    min_han: float = Field(
        0.30,  # ChineseWebText (Chen et al. 2023)
        ge=0,
        le=1,
        title="Fewest Han characters",
        description="Smallest share of the characters that are not white space; Kana count too.",
    )
    min_kana: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Fewest Kana",
        description="Smallest share; no Japanese prose is without.",
    )

    reasons: ClassVar[tuple[str, ...]] = ("too_few_han", "too_few_kana")

    def measure(self, batch: TextBatch) -> Measures:
        """`han` (with Kana), `kana` as shares; `traditional`: share of traditional characters.

        `traditional` looks only at characters that exist in one way of writing Chinese and not in
        the other; 0 where there are none.
        """
        visible, han, kana, simplified, traditional = script_counts(batch.data, batch.offsets)
        visible = np.maximum(visible, 1)
        return {
            "han": (han + kana) / visible,
            "kana": kana / visible,
            "traditional": traditional / np.maximum(simplified + traditional, 1),
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Bounds are inclusive."""
        han, kana = np.asarray(measures["han"]), np.asarray(measures["kana"])
        return self.first_failure([han < self.min_han, kana < self.min_kana])
