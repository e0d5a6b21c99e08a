"""What a source hands to the readers: units of input, each of which becomes one part.

    source.units(root) -> [InputUnit(name, files)] -> source.parse(unit, writer) in a worker -> part

A unit's identity is its name and the content of its files; where the files lie is not.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.corpus.sources.part import PartWriter

NOT_IDENTITY = frozenset({"max_bad_fraction"})


@dataclass(frozen=True)
class InputFile:
    """One file of the user's, as found when the run began."""

    path: str
    name: str
    """How ids and the quarantine call it: relative to where the search began, `/` between parts."""


@dataclass(frozen=True)
class InputUnit:
    """The files that become one part, in reading order."""

    name: str
    files: tuple[InputFile, ...]


class Source(BaseModel, ABC):
    """Base of all sources: a named kind of input with its reading rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        title="Name",
        description="Name of the source in the corpus, in reports and in the column `source`.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    max_bad_fraction: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        title="Bad records tolerated",
        description="Largest fraction of quarantined records; above it the run stops.",
    )

    @abstractmethod
    def units(self, root: Path) -> list[InputUnit]:
        """The units of input, in order; `root` may keep what had to be resolved once.

        Raises DataError when a path does not exist or nothing matches.
        """

    @abstractmethod
    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Read one unit into its part; called in a worker process."""

    def identity(self) -> dict[str, Any]:
        """The settings that change what is read from given files: no paths, no tolerances."""
        names = [name for name in type(self).model_fields if name not in self.not_identity()]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Fields that only say where the input is or what is tolerated."""
        return NOT_IDENTITY
