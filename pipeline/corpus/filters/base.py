"""The shape of a filter: measure the text once, judge the measures as often as you like.

    measure(batch) -> {"chars": (N,) array, ...}    looks at text, knows no threshold
    judge(measures) -> (N,) int16                   knows thresholds, sees no text; 0 keeps

Measures are stored beside the documents as columns `kind.measure`, for rejected ones too, so a
changed threshold can be judged again without the text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from pipeline.corpus.document import TextBatch

Measures = dict[str, npt.NDArray[Any]]
Codes = npt.NDArray[np.int16]


class Filter(BaseModel):
    """Base of all filters: a config that measures and judges."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reasons: ClassVar[tuple[str, ...]] = ()
    """What the codes 1, 2, ... of `judge` mean."""

    @property
    def name(self) -> str:
        """The prefix of its columns and reasons: the value of its field `kind`."""
        kind: str = getattr(self, "kind")  # noqa: B009  declared by each member of the union
        return kind

    def measure(self, batch: TextBatch) -> Measures:
        """(N,) values per measure; never depends on the filter's thresholds."""
        raise TypeError(f"{type(self).__name__} does not measure")

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """(N,) 0 to keep, else 1 + the index of the reason in `reasons`."""
        raise TypeError(f"{type(self).__name__} does not judge")

    def first_failure(self, failures: Sequence[npt.NDArray[np.bool_]]) -> Codes:
        """Codes from one mask (N,) per reason, in the order of `reasons`; the first one counts."""
        assert len(failures) == len(self.reasons)
        codes = np.zeros(len(failures[0]), np.int16)
        for code in range(len(failures), 0, -1):
            codes[failures[code - 1]] = code
        return codes
