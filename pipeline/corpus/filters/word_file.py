"""A file that the user gives to a step: known by the hash of its content, never by its path.

    domains: lists/blocked.txt          in YAML
    {"sha256": "..."}                   in the identity of what was made with it
    {"path": "...", "sha256": "..."}    on the way to another process

The content is read when the configuration is, so a missing file is a wrong setting, and a file that
changes while a run is going on is noticed.
"""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    model_serializer,
    model_validator,
)

from pipeline.store.errors import DataError

SHIPPED = "shipped:"
SHIPPED_LISTS = Path(__file__).resolve().parents[1] / "wordlists"
SHIPPED_NAMES = {".txt": ("harmful_en", "harmful_zh"), ".yaml": ("groups",)}


_PLACES: dict[str, str] = {}
"""Where content was read from in this process: Prefect rebuilds settings from their fields, and
what is no field is lost on the way."""


def _restored(kind: "type[FileRef]", sha256: str, path: str) -> "FileRef":
    if path:
        _PLACES[sha256] = path
    return kind.model_construct(sha256=sha256)


class FileRef(BaseModel):
    """A file by its content; equal content is an equal value wherever it lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", title="Content", description="Hex sha256 of the file."
    )

    shipped_suffix: ClassVar[str] = ""
    """Of the files of this kind that come with the project."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_path(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """A path in place of the value; ValueError where there is no such file or other content."""
        if isinstance(value, cls):
            return value
        facts = dict(value) if isinstance(value, dict) else {"path": value}
        path = facts.pop("path", None)
        if path is None:
            return handler(facts)
        if not isinstance(path, str | Path) or not str(path):
            raise ValueError("must be the path of a file")
        found = cls._digest(str(path))
        if facts.get("sha256", found) != found:
            raise ValueError(
                f"{path} has other content (sha256 {found[:12]}) than when it was configured; "
                "start the run again"
            )
        _PLACES[found] = str(path)
        return handler({**facts, "sha256": found})

    @classmethod
    def _digest(cls, path: str) -> str:
        """The content's sha256; ValueError where the content is of no use."""
        return hashlib.sha256(cls._read(path)).hexdigest()

    @classmethod
    def _read(cls, path: str) -> bytes:
        return _bytes_of(path, cls.shipped_suffix)

    @model_serializer
    def _with_path(self) -> dict[str, str]:
        return {"path": self.path, "sha256": self.sha256} if self.path else {"sha256": self.sha256}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.sha256, self.path)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.sha256 == self.sha256  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def path(self) -> str:
        """Where it lay when the configuration was read; "" where only the content is known."""
        return _PLACES.get(self.sha256, "")

    def content(self) -> bytes:
        """The file's bytes; DataError if they are not those of the configuration any more."""
        if not self.path:
            raise DataError(
                f"a step needs a file with sha256 {self.sha256[:12]}, known by its content only; "
                "give its path in the configuration"
            )
        try:
            data = self._read(self.path)
        except ValueError as error:
            raise DataError(str(error)) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DataError(f"{self.path} changed while it was in use; start the run again")
        return data


class WordFile(FileRef):
    """A list of words, domains or addresses: one entry per line, `#` begins a comment line.

    `shipped:NAME` names a list that comes with this project.
    """

    shipped_suffix = ".txt"

    def entries(self) -> tuple[str, ...]:
        """The entries without comments, in the file's order, each once."""
        return _entries(self)

    @classmethod
    def _digest(cls, path: str) -> str:
        if next(_lines(cls._read(path), path), None) is None:
            raise ValueError(f"{path} holds no entry; write one per line")
        return super()._digest(path)


@functools.lru_cache(maxsize=16)
def _entries(file: WordFile) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_lines(file.content(), file.path)))


def _lines(data: bytes, path: str) -> Iterator[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {number}, is not UTF-8; save the list as UTF-8") from error
    for line in text.split("\n"):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield entry


def _bytes_of(path: str, suffix: str) -> bytes:
    """The content of a path or of `shipped:NAME`; ValueError where it cannot be read."""
    if path.startswith(SHIPPED):
        name = path.removeprefix(SHIPPED)
        names = SHIPPED_NAMES.get(suffix, ())
        if name not in names:
            known = ", ".join(SHIPPED + name for name in names) or "none of this kind"
            raise ValueError(f"no list {path} is shipped; there are {known}")
        file = SHIPPED_LISTS / (name + suffix)
    else:
        file = Path(path).expanduser()
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist (seen from {Path.cwd()})") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
