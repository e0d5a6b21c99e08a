"""Further held-out text from files the user names: benchmarks, held-out examples.

`.jsonl` (also .gz, .zst) -> one document per line; other files -> one per paragraph. A held-out set
that is only half read protects only half, so anything unreadable stops the run.
"""

import glob
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.corpus.dedup.settings import HeldOutFiles
from pipeline.store.errors import ConfigError, DataError

_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
MAX_FILE_BYTES = 2 << 30
"""Held-out text is indexed in memory; more than this unpacked is surely a mistake."""


def held_out_paths(config: HeldOutFiles) -> list[Path]:
    """The files meant, sorted; ConfigError for a path or pattern that matches nothing."""
    found: set[Path] = set()
    for pattern in config.paths:
        path = Path(pattern).expanduser()
        matches = [path] if path.is_file() else map(Path, glob.glob(str(path), recursive=True))
        files = [match for match in matches if match.is_file()]
        if not files:
            raise ConfigError(
                f"clean.decontamination.against: {config.name}: no file matches {pattern!r}; "
                "check the path (it is relative to where mill runs)"
            )
        found.update(files)
    return sorted(found)


def content_digest(config: HeldOutFiles, paths: list[Path]) -> str:
    """sha256 over the files' bytes, in an order that depends on content, and the fields read."""
    hashes = []
    for path in paths:
        with _opened(path) as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    kinds = [_is_jsonl(path) for path in paths]
    identity = [sorted(map(list, zip(hashes, kinds, strict=True))), list(config.fields)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def read_held_out(config: HeldOutFiles, paths: list[Path]) -> pa.Table:
    """`doc_id` (`file:line` or `file:paragraph`) and `text` of every document in the files."""
    ids: list[str] = []
    texts: list[str] = []
    for path in paths:
        for number, text in _documents(config, path):
            if text.strip():
                ids.append(f"{path.name}:{number}")
                texts.append(text)
    if not texts:
        raise DataError(
            f"clean.decontamination.against: {config.name} holds no text "
            f"({len(paths)} files, fields {list(config.fields) or 'all'}); check paths and fields"
        )
    return pa.table(
        {"doc_id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.large_string())}
    )


def _documents(config: HeldOutFiles, path: Path) -> Iterator[tuple[int, str]]:
    content = _content(path)
    if not _is_jsonl(path):
        yield from enumerate(_PARAGRAPHS.split(content), start=1)
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            text = _text(config, json.loads(line), f"{path}:{number}")
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number} is not a JSON object ({type(error).__name__}: {error}); held-out "
                "text must be read whole, repair the file"
            ) from error
        yield number, text


def _text(config: HeldOutFiles, record: Any, where: str) -> str:
    if not isinstance(record, dict):
        raise DataError(f"{where} is a {type(record).__name__}, expected a JSON object")
    if not config.fields:
        return "\n".join(_strings(record))
    missing = [field for field in config.fields if field not in record]
    if missing:
        raise DataError(
            f"{where} has no field {missing[0]!r}, only {sorted(record)}; change fields of "
            f"{config.name} in clean.decontamination.against"
        )
    return "\n".join(text for field in config.fields for text in _strings(record[field]))


def _strings(value: Any) -> Iterator[str]:
    """Every string inside, in order, however nested (the parser bounds the depth)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _is_jsonl(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return name.endswith((".jsonl", ".ndjson"))


def _opened(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from error


def _content(path: Path) -> str:
    with _opened(path) as file:
        try:
            data = _unpacked(path, file)
        except (OSError, EOFError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be unpacked ({error}); repair the file") from error
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{path} holds more than {MAX_FILE_BYTES >> 30} GB; held-out text is small")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); convert it") from error


def _unpacked(path: Path, file: io.BufferedReader) -> bytes:
    if path.suffix.lower() == ".gz":
        with gzip.open(file) as unpacked:
            return unpacked.read(MAX_FILE_BYTES + 1)
    if path.suffix.lower() == ".zst":
        with pa.CompressedInputStream(pa.PythonFile(file), "zstd") as stream:
            return bytes(stream.read(MAX_FILE_BYTES + 1))
    return file.read(MAX_FILE_BYTES + 1)
