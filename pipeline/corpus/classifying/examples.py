"""Labelled examples for a linear filter: JSON Lines in, texts out; bad lines are counted."""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import zstandard

from pipeline.store.errors import DataError

MAX_BAD_FRACTION = 0.01  # above it the file is another kind of file
MAX_LINE_BYTES = 32_000_000


@dataclass
class Examples:
    """Texts of both classes, in the order of the files."""

    positives: list[str] = field(default_factory=list)
    negatives: list[str] = field(default_factory=list)
    bad_lines: int = 0
    """Lines without a usable text or label."""


def read_pair(positive: Path, negative: Path, *, text_field: str) -> Examples:
    """One file per class."""
    examples = Examples()
    for path, texts in ((positive, examples.positives), (negative, examples.negatives)):
        found, bad = read_texts(path, text_field=text_field)
        texts += found
        examples.bad_lines += bad
    return examples


def read_labelled(
    path: Path, *, text_field: str, label_field: str, positive_label: str
) -> Examples:
    """One file with a label on each line; a label that equals `positive_label` is positive."""
    examples, seen, total = Examples(), set(), 0
    for _, record in _records(path):
        total += 1
        text = _text_of(record, text_field)
        label = record.get(label_field) if isinstance(record, dict) else None
        if text is None or label is None or isinstance(label, dict | list):
            examples.bad_lines += 1
            continue
        name = _label_name(label, positive_label)
        seen.add(name)
        (examples.positives if name == positive_label else examples.negatives).append(text)
    _check_bad(path, examples.bad_lines, total, f"a string {text_field!r} and a {label_field!r}")
    if positive_label not in seen:
        shown = ", ".join(sorted(seen)[:8]) or "none"
        raise DataError(
            f"{path} has no line with {label_field}={positive_label!r}; its labels are {shown}"
        )
    return examples


def read_texts(path: Path, *, text_field: str) -> tuple[list[str], int]:
    """(texts, number of bad lines) of a JSON Lines file, plain, .gz or .zst."""
    texts: list[str] = []
    total = 0
    for _, record in _records(path):
        total += 1
        text = _text_of(record, text_field)
        if text is not None:
            texts.append(text)
    _check_bad(path, total - len(texts), total, f"a string {text_field!r}")
    return texts, total - len(texts)


def _text_of(record: Any, text_field: str) -> str | None:
    text = record.get(text_field) if isinstance(record, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def _label_name(label: Any, positive_label: str) -> str:
    """As a person writes it on the command line: true is `true`, or `1` where that is asked for."""
    if isinstance(label, bool):
        return str(int(label)) if positive_label in ("0", "1") else str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _check_bad(path: Path, bad: int, total: int, wanted: str) -> None:
    if not total:
        raise DataError(f"{path} holds no line; one JSON object per line is expected")
    if bad > max(1, total * MAX_BAD_FRACTION):
        raise DataError(
            f"{path}: {bad} of {total} lines are not usable; each needs {wanted} "
            "(see --text-field and --label-field)"
        )


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, parsed line or None) for every line that is not blank."""
    try:
        with _open(path) as handle:
            for number, line in enumerate(handle, 1):
                if len(line) > MAX_LINE_BYTES:
                    yield number, None
                elif line.strip():
                    yield number, _parsed(line)
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), closefd=True)
        return io.BufferedReader(reader)  # type: ignore[type-var,return-value]
    return open(path, "rb")
