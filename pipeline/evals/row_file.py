"""Rows of a user's JSONL file, checked key by key: what is wrong is said with file and line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.store.errors import DataError

T = TypeVar("T")


def read_rows(data: bytes, name: str, read: "Callable[[Row], T]") -> list[T]:
    """`read` of each object in JSONL `data`, blank lines skipped; DataError names a bad line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise DataError(f"{name}:{number} is not UTF-8; save the file as UTF-8") from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            found.append(read(_parsed(line, f"{name}:{number}")))
    if not found:
        raise DataError(f"{name} holds no row; write one JSON object per line")
    return found


def read_row_file(path: Path, read: "Callable[[Row], T]") -> list[T]:
    """`read_rows` of a file; DataError where it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; name a JSONL file") from error
    return read_rows(data, str(path), read)


class Row:
    """One object with the place it stands at."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        """`where` begins every error."""
        self.values = values
        self.where = where

    def only(self, *keys: str) -> None:
        """DataError for a key that means nothing here: it may be a misspelt one."""
        extra = sorted(set(self.values) - set(keys))
        if extra:
            raise self.error(f"key {extra[0]!r} is unknown; known are {', '.join(keys)}")

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not blank; `default` where the key is absent."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or (not value.strip() and value != default):
            raise self.error(f"{key} must be a text that is not blank, found {value!r:.60}")
        return value

    def texts(self, key: str, *, least: int, most: int | None = None) -> tuple[str, ...]:
        """A list of distinct strings that are not blank."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.error(f"{key} must be a list of texts, none blank; found {value!r:.60}")
        if len(value) < least or (most is not None and len(value) > most):
            wanted = f"{least}" if most == least else f"{least} or more"
            raise self.error(f"{key} has {len(value)} texts, expected {wanted}")
        if len(set(value)) < len(value):
            raise self.error(f"{key} holds a text twice; nothing can be told from equal ones")
        return tuple(value)

    def error(self, what: str) -> DataError:
        """A DataError that says where."""
        return DataError(f"{self.where}: {what}")


def _parsed(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}; write one object per line") from error
    if not isinstance(values, dict):
        raise DataError(f"{where} is a JSON {type(values).__name__}, expected an object")
    return Row(values, where)
