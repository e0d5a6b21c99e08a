"""C4's rules about documents (Raffel et al. 2020, section 2.2), decided as datatrove 0.10.1 does.

Its rules about lines are the rewrite `c4_lines`, which comes before: it keeps the lines that hold a
curly bracket or lorem ipsum, so that they are seen here.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.kernels.counts import sentence_counts
from pipeline.corpus.kernels.phrases import NOWHERE, first_marked_lines
from pipeline.corpus.kernels.tokens import tokens_of


class C4Filter(Filter):
    """No placeholder text, no source code, a few sentences at least."""

    kind: Literal["c4"] = "c4"
    drop_lorem_ipsum: bool = Field(
        True, title="Drop lorem ipsum", description="Documents that hold the phrase."
    )
    drop_curly_brackets: bool = Field(
        True, title="Drop curly brackets", description="Documents that hold a {."
    )
    min_sentences: int = Field(
        5, ge=0, title="Fewest sentences", description="Each line has one at least."
    )

    reasons: ClassVar[tuple[str, ...]] = ("lorem_ipsum", "curly_bracket", "too_few_sentences")

    def measure(self, batch: TextBatch) -> Measures:
        """`sentences`; the line on which lorem ipsum or a `{` first occurs, -1 for nowhere."""
        lorem, curly = first_marked_lines(batch.data, batch.offsets)
        return {
            "lorem_ipsum": lorem,
            "curly_bracket": curly,
            "sentences": sentence_counts(tokens_of(batch), batch.offsets),
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """Whichever of phrase and bracket comes first is the reason; on one line the phrase."""
        lorem, curly = np.asarray(measures["lorem_ipsum"]), np.asarray(measures["curly_bracket"])
        has_lorem = (lorem != NOWHERE) & self.drop_lorem_ipsum
        has_curly = (curly != NOWHERE) & self.drop_curly_brackets
        return self.first_failure(
            [
                has_lorem & ~(has_curly & (curly < lorem)),
                has_curly,
                np.asarray(measures["sentences"]) < self.min_sentences,
            ]
        )
