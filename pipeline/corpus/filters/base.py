"""The shape of a cleaning step: a filter judges documents, a rewrite changes their text.

    Filter   measure(batch) -> {"chars": (N,) array, ...}    looks at text, knows no threshold
             judge(measures) -> (N,) int16                   knows thresholds, sees no text; 0 keeps
    Rewrite  apply(batch)   -> Rewritten(batch, counts, measures)

Measures are stored beside the documents as columns `kind.measure`, for rejected ones too, so a
changed threshold can be judged again without the text. A step may be bound to languages: then it
sees only the documents identified as one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.corpus.document import TextBatch
from pipeline.corpus.languages.codes import UNDETERMINED, checked_code

Measures = dict[str, npt.NDArray[Any]]
Codes = npt.NDArray[np.int16]


class Step(BaseModel):
    """Base of filters and rewrites: a config that does its part of the cleaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: tuple[str, ...] = Field(
        (),
        title="Languages",
        description="Only documents in these languages (ISO 639-1 codes such as en, zh); empty: "
        "every document.",
    )
    except_languages: tuple[str, ...] = Field(
        (), title="Except languages", description="Never documents in these languages."
    )

    @field_validator("languages", "except_languages")
    @classmethod
    def _are_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        """A misspelt code would let every document pass unjudged."""
        return tuple(dict.fromkeys(checked_code(language) for language in languages))

    @property
    def name(self) -> str:
        """The prefix of its columns and reasons: the value of its field `kind`."""
        kind: str = getattr(self, "kind")  # noqa: B009  declared by each member of the union
        return kind

    @property
    def is_routed(self) -> bool:
        """Whether it needs to know the language of a document."""
        return bool(self.languages or self.except_languages)

    def applies_to(self, language: str | None) -> bool:
        """Whether documents in `language` pass through this step; None: nobody told."""
        language = language or UNDETERMINED
        wanted = not self.languages or language in self.languages
        return wanted and language not in self.except_languages


class Filter(Step):
    """A config that measures and judges."""

    reasons: ClassVar[tuple[str, ...]] = ()
    """What the codes 1, 2, ... of `judge` mean."""
    ranges: ClassVar[tuple[str, ...]] = ()
    """`x` where `min_x` and `max_x` bound one measure."""

    @model_validator(mode="after")
    def _ranges_leave_room(self) -> Self:
        for name in self.ranges:
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(
                    f"min_{name}={low:g} is above max_{name}={high:g}, so no document would stay"
                )
        return self

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


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite made of N documents: the same documents in the same order."""

    batch: TextBatch
    counts: dict[str, int]
    """What was changed, by kind: documents, or replacements where a kind says so."""
    measures: Measures = field(default_factory=dict)
    """(N,) values worth a column, such as how much each document lost."""


class Rewrite(Step):
    """A config that changes texts; it never adds, drops or reorders documents."""

    def apply(self, batch: TextBatch) -> Rewritten:
        """The batch with its new texts; `batch` itself where nothing changed."""
        raise TypeError(f"{type(self).__name__} does not rewrite")
