"""A trained linear filter as a step: the score of every document against a threshold.

mill corpus train-filter ... --out FILTER_DIR      once
{kind: classifier, model: FILTER_DIR}              in the list of steps
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.corpus.classifying.linear import FILTER_JSON, LinearFilter, load_filter
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.filters.word_file import FileRef
from pipeline.corpus.rewrites.spans import Text
from pipeline.store.errors import DataError


class TrainedFilter(FileRef):
    """The directory of a trained filter, known by the content of its filter.json and weights."""

    def load(self) -> LinearFilter:
        """The filter, read once per process."""
        return _loaded(self)

    @classmethod
    def _digest(cls, path: str) -> str:
        try:
            load_filter(cls._read(path), Path(path).expanduser())
        except DataError as error:
            raise ValueError(str(error)) from error
        return super()._digest(path)

    @classmethod
    def _read(cls, path: str) -> bytes:
        return super()._read(str(Path(path).expanduser() / FILTER_JSON))


@functools.lru_cache(maxsize=8)
def _loaded(ref: TrainedFilter) -> LinearFilter:
    return load_filter(ref.content(), Path(ref.path).expanduser())


class ClassifierFilter(Filter):
    """Which filter, and from which score on documents are dropped."""

    kind: Literal["classifier"] = "classifier"
    model: TrainedFilter = Field(
        title="Trained filter", description="Directory that `mill corpus train-filter` wrote."
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Threshold",
        description="Null: the one found in training. Scores equal to it are kept.",
    )
    keep: Literal["above", "below"] | None = Field(
        None, title="Keep", description="Null: as in training."
    )

    reasons: ClassVar[tuple[str, ...]] = ("low_score", "high_score")

    @model_validator(mode="after")
    def _resolve(self) -> "ClassifierFilter":
        """Make what training chose explicit: judging again then needs no file."""
        if self.threshold is None or self.keep is None:
            trained = self.model.load()
            chosen = {"threshold": trained.threshold, "keep": trained.keep}
            for name, value in chosen.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)  # frozen for everybody else
        return self

    def measure(self, batch: TextBatch) -> Measures:
        """`score`: 0 to 1, float32; 1 is like the examples that were called positive."""
        return {"score": self.model.load().scores(Text.of(batch)).astype(np.float32)}

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """The bound is inclusive."""
        scores, bound = np.asarray(measures["score"]), np.float32(self.threshold or 0.0)
        never = np.zeros(len(scores), np.bool_)
        if self.keep == "below":
            return self.first_failure([never, scores > bound])
        return self.first_failure([scores < bound, never])
