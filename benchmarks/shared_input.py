"""The same JSON Lines for both sides: repaired, in two files of equal size, of any length.

FILE.jsonl -> repair -> FOLDER/0.jsonl, FOLDER/1.jsonl    {"text": ..., "id": ...}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.corpus.repair import RepairConfig, repair_text
from pipeline.store.errors import DataError

NUM_FILES = 2


@dataclass(frozen=True)
class Input:
    """A folder of JSON Lines."""

    folder: Path
    documents: int
    num_bytes: int
    """Of text, in UTF-8."""


def prepare(data: Path, folder: Path, *, max_bytes: int) -> Input:
    """The documents of `data` until their texts are `max_bytes`; DataError when none is usable."""
    if not data.is_file():
        raise DataError(f"--data {data} is no file; give JSON Lines with `text` and `id`")

    def documents() -> Iterator[tuple[str, str]]:
        left = max_bytes
        for row in _rows(data):
            text = repair_text(row["text"], RepairConfig()).text
            left -= len(text.encode())
            if left < 0:
                return
            if text.strip():  # the peer's reader drops documents without text, uncounted
                yield str(row["id"]), text

    return _write(folder, documents())


def first_documents(whole: Input, folder: Path, *, count: int) -> Input:
    """The first few documents of each file."""

    def documents() -> Iterator[tuple[str, str]]:
        for path in sorted(whole.folder.glob("*.jsonl")):
            for number, row in enumerate(_rows(path)):
                if number == count // NUM_FILES:
                    break
                yield row["id"], row["text"]

    return _write(folder, documents())


def grown(whole: Input, folder: Path, *, factor: int) -> Input:
    """`factor` times the documents, under names of their own."""

    def documents() -> Iterator[tuple[str, str]]:
        for number in range(factor):
            for path in sorted(whole.folder.glob("*.jsonl")):
                for row in _rows(path):
                    yield f"{row['id']}-{number}", row["text"]

    return _write(folder, documents())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = orjson.loads(line)
                if not isinstance(row["text"], str) or "id" not in row:
                    raise KeyError("text")
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(
                    f'{path}:{number} is no object with a "text" and an "id"; prepare the file so'
                ) from error
            yield row


def _write(folder: Path, documents: Iterator[tuple[str, str]]) -> Input:
    """Each document to the file that has fewer bytes so far."""
    folder.mkdir(parents=True)
    sizes, count = [0] * NUM_FILES, 0
    files = [(folder / f"{number}.jsonl").open("wb") for number in range(NUM_FILES)]
    try:
        for identity, text in documents:
            smallest = sizes.index(min(sizes))
            files[smallest].write(orjson.dumps({"text": text, "id": identity}) + b"\n")
            sizes[smallest] += len(text.encode())
            count += 1
    finally:
        for file in files:
            file.close()
    if not count:
        raise DataError("the input holds no document with text")
    return Input(folder, count, sum(sizes))
