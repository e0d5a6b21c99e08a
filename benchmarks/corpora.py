"""Text to measure cleaning on: what this machine has of documentation, licences and changelogs.

    python -m benchmarks.corpora OUT.jsonl [--megabytes 30]

One JSON object per line, `{"text": ..., "id": ...}`, each text once, in the order of their hashes:
the same files give the same bytes, and any part of the file is a fair sample of it.
"""

import argparse
import gzip
import hashlib
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from pipeline.corpus.document import iter_batches
from pipeline.corpus.reading import read_sources
from pipeline.corpus.sources.pydocs import PydocsSource
from pipeline.store.errors import DataError, MillError
from pipeline.store.runtime import Runtime

PLACES = ("/usr/share/doc", "/usr/share/perl", "/usr/share/common-licenses", "/usr/lib/python3")
PROSE_NAMES = ("readme", "license", "licence", "copying", "changelog", "changes", "news", "notice",
               "history", "authors", "faq", "todo", "contributing")  # fmt: skip
PROSE_SUFFIXES = frozenset({"", ".txt", ".rst", ".md", ".markdown", ".pod", ".gz", ".debian"})
SMALLEST, LARGEST = 200, 400_000  # bytes of one document: what web pages mostly lie between


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=30.0, help="of text, at most")
    given = parser.parse_args(arguments)
    try:
        count, size = write_corpus(machine_texts(), given.out, max_bytes=int(given.megabytes * 1e6))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{given.out}: {count} documents, {size / 1e6:.1f} MB of text")
    return 0


def write_corpus(texts: Iterable[str], path: Path, *, max_bytes: int) -> tuple[int, int]:
    """Distinct texts as lines of `path` until they are `max_bytes`; how many, and their bytes."""
    distinct: dict[str, bytes] = {}
    for text in texts:
        encoded = text.encode("utf-8", "ignore")
        distinct.setdefault(hashlib.sha256(encoded).hexdigest(), encoded)
    if not distinct:
        raise DataError(f"this machine holds no text for {path}; give --data FILE.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    count, size = 0, 0
    with path.open("wb") as file:
        for digest, encoded in sorted(distinct.items()):
            if size + len(encoded) > max_bytes:
                break
            line = orjson.dumps({"text": encoded.decode(), "id": digest[:16]})
            file.write(line + b"\n")
            count, size = count + 1, size + len(encoded)
    return count, size


def machine_texts() -> Iterator[str]:
    """Docstrings of the installed Python, then files of prose that packages brought along."""
    with tempfile.TemporaryDirectory() as directory:
        parts = read_sources([PydocsSource()], root=Path(directory), runtime=Runtime())
        for part in parts:
            for batch in iter_batches(part.documents_path, ["text"]):
                yield from batch.texts
    for place in (*PLACES, sysconfig.get_path("purelib")):
        for path in sorted(Path(place).rglob("*")):
            if is_prose(path) and path.is_file() and not path.is_symlink():
                text = read_prose(path)
                if text is not None:
                    yield text


def is_prose(path: Path) -> bool:
    """Whether a file's name promises text for people."""
    suffix = path.suffix.lower()
    if suffix not in PROSE_SUFFIXES:
        return False
    named = path.name.lower().startswith(PROSE_NAMES)
    return named or suffix in (".txt", ".rst", ".md", ".markdown", ".pod")


def read_prose(path: Path) -> str | None:
    """The text of a file, unpacked; None for one that is not UTF-8 or of an odd size."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = zlib.decompressobj(wbits=31).decompress(data, LARGEST + 1)
        if not SMALLEST <= len(data) <= LARGEST:
            return None
        return data.decode("utf-8")
    except (OSError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
