"""What is read: files as found when the run began, pieces of large ones, and units of them.

    InputFile(path, name)              a file
    InputFile(..., segment, start...)  a piece of one, so that work goes on inside a large file
    InputUnit(name, files)             what becomes one part

A unit's identity is its name and the content of its files; where the files lie is not.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

COMPRESSIONS = (".gz", ".zst")
STREAM = "stream:"


@dataclass(frozen=True)
class InputFile:
    """One file of the user's, or a piece of one."""

    path: str
    """Where it lies: a local path or a URL that fsspec knows."""
    name: str
    """How ids and the quarantine call it: relative to where the search began, `/` between parts."""
    identity: str | None = None
    """What stands for its content (a checksum of the store it lies in); None: hash the bytes."""
    num_bytes: int | None = None
    """Bytes to read, compressed; None: ask the file system."""
    segment: int = 0
    """Number of this piece of the file, from 0."""
    start: int = 0
    """First byte (records), row group (Parquet) or record batch (Arrow) of this piece."""
    stop: int | None = None
    """Where the piece ends, exclusive; None: at the end of the file."""
    first_row: int = 0
    """Number of rows before this piece."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the driver of a URL is opened with."""

    @property
    def is_url(self) -> bool:
        """Whether fsspec has to open it."""
        return "://" in self.path

    @property
    def is_stream(self) -> bool:
        """Whether it is no file at all: its identity is given and it cannot change."""
        return self.path.startswith(STREAM)

    @property
    def known_bytes(self) -> int:
        """Bytes to read; 0 where that is not known before reading."""
        if self.num_bytes is not None or self.is_url or self.is_stream:
            return self.num_bytes or 0
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0  # reading it will fail where that is counted

    def piece(self, segment: int, start: int, stop: int, first_row: int) -> "InputFile":
        """The same file, from `start` to `stop` only."""
        return replace(self, segment=segment, start=start, stop=stop, first_row=first_row)


@dataclass(frozen=True)
class InputUnit:
    """The files that become one part, in reading order."""

    name: str
    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a large file that can be read on its own."""

    start: int
    stop: int
    first_row: int
    identity: str
    """What stands for the content of the piece."""
    num_bytes: int


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file's name ends in one of them, in capitals or not: `README.TXT` is text."""
    return name.lower().endswith(tuple(suffix.lower() for suffix in suffixes))


def without_compression(name: str) -> str:
    """`a.jsonl.gz` -> `a.jsonl`."""
    for compression in COMPRESSIONS:
        if has_suffix(name, (compression,)):
            name = name[: -len(compression)]
    return name


def stem(name: str) -> str:
    """`a/b.jsonl.gz` -> `a/b`: the name without its suffix and compression."""
    name = without_compression(name)
    head, slash, tail = name.rpartition("/")
    base, dot, _ = tail.rpartition(".")
    return head + slash + (base if dot and base else tail)
