"""Web pages that lie as HTML files, packed into a web archive as a crawler would have stored them.

    python -m benchmarks.pages --data DIR --out pages.warc.gz

DIR holds HTML files at any depth, for instance `tests` of a checkout of adbar/trafilatura, whose
`evaldata.json` also tells their addresses. Pages belong to their authors: neither they nor the
archive are ever committed.
"""

import argparse
import gzip
import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.corpus.sources.walking import walk
from pipeline.store.errors import DataError, MillError
from pipeline.store.files import replacing

SUFFIXES = (".html", ".htm", ".xhtml")
DATE = "2026-01-01T00:00:00Z"  # files do not tell when they were fetched


@dataclass(frozen=True)
class Page:
    """A page as it was stored."""

    url: str
    data: bytes


def pages_of(directory: Path) -> Iterator[Page]:
    """Every page below a directory, sorted by path; DataError if there is none."""
    addresses = _addresses(directory)
    found = False
    for path in walk(directory):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            found = True
            yield Page(addresses.get(path.name, f"file:{path.name}"), path.read_bytes())
    if not found:
        raise DataError(f"{directory} holds no file ending in {', '.join(SUFFIXES)}; check --data")


def write_archive(pages: Iterator[Page], sink: BinaryIO) -> int:
    """Pages as WARC 1.0 responses, a gzip member each, the same bytes every time; how many."""
    count = 0
    software = b"software: gristmill benchmarks.pages\r\nformat: WARC File Format 1.0\r\n"
    _write(sink, "warcinfo", software, {"Content-Type": "application/warc-fields"})
    for page in pages:
        # No charset: what a page says about itself is all that is known.
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page.data)}"
        headers = {
            "WARC-Target-URI": page.url,
            "Content-Type": "application/http; msgtype=response",
        }
        _write(sink, "response", f"{head}\r\n\r\n".encode() + page.data, headers)
        count += 1
    return count


def _write(sink: BinaryIO, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {headers.get('WARC-Target-URI', '')}")
    fields = {
        "WARC-Type": kind,
        "WARC-Date": DATE,
        "WARC-Record-ID": f"<urn:uuid:{identity}>",
        **headers,
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    record = f"WARC/1.0\r\n{lines}\r\n".encode() + body + b"\r\n\r\n"
    sink.write(gzip.compress(record, mtime=0))


def _addresses(directory: Path) -> dict[str, str]:
    """File name -> URL by trafilatura's `evaldata.json`, if it is there."""
    path = directory / "evaldata.json"
    if not path.is_file():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))
    return {str(facts["file"]): url for url, facts in known.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack the pages and say how many; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of HTML files")
    parser.add_argument("--out", type=Path, required=True, help="archive to write (.warc.gz)")
    given = parser.parse_args(arguments)
    try:
        with replacing(given.out) as temporary, open(temporary, "wb") as sink:
            count = write_archive(pages_of(given.data), sink)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{count} pages, {given.out.stat().st_size / 1e6:.1f} MB: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
