"""The base of all sources: how one is named, weighed, found and read.

    source.units(root) -> [InputUnit(name, files)] -> source.parse(unit, writer) in a worker -> part

Large files are cut first (`source.pieces(file)`), each piece becomes a part of its own.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.corpus.sources.inputs import InputFile, InputUnit, Piece
from pipeline.corpus.sources.part import PartWriter

NOT_IDENTITY = frozenset({"max_bad_fraction", "weight"})


class Source(BaseModel, ABC):
    """A named kind of input with its reading rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        title="Name",
        description="Name of the source in the corpus, in reports and in the column `source`.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    weight: float = Field(
        1.0,
        gt=0.0,
        le=1e6,
        title="Weight",
        description="How often the source's text is used when sources are mixed, relatively.",
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

    def cut_rule(self, file: InputFile) -> str | None:
        """What `pieces` depends on besides the file; None: this file is read in one piece."""
        return None

    def pieces(self, file: InputFile) -> list[Piece]:
        """Cut a file for which `cut_rule` is not None; an empty list: it cannot be cut."""
        return []

    def identity(self) -> dict[str, Any]:
        """The settings that change what is read from given files: no paths, no tolerances."""
        names = [name for name in type(self).model_fields if name not in self.not_identity()]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Fields that only say where the input is, what is tolerated or how it is mixed."""
        return NOT_IDENTITY
