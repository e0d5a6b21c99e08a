"""WARC 1.0 and 1.1 (ISO 28500) as a stream of records, in bounded memory.

    blocks of a file -> header lines, Content-Length bytes of body -> WarcRecord | Break

Written here rather than taken from a library: those that were measured end silently at a truncated
member, have no limit on what a member expands to, and cannot go on behind damage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.corpus.sources.records import Break, Limits, ReadingBroken, read_blocks

VERSION = b"WARC/1."
MAX_HEADER_BYTES = 1 << 16  # ten times what crawlers write


@dataclass(frozen=True)
class WarcRecord:
    """One record; `body` is None when it is longer than the limit."""

    index: int
    offset: int
    """Of its first byte in the decompressed stream."""
    headers: Mapping[str, str]
    """Lower-case names."""
    num_bytes: int
    body: bytes | None

    @property
    def kind(self) -> str:
        """`response`, `conversion`, `warcinfo`..."""
        return self.headers.get("warc-type", "").lower()


@dataclass(frozen=True)
class Damage:
    """Bytes that are no record were skipped: reading goes on behind them."""

    offset: int
    reason: str
    detail: str


def read_warc(handle: BinaryIO, name: str, limits: Limits) -> Iterator[WarcRecord | Damage | Break]:
    """The records of one file, in order; at most one Break, last. Raises OSError only."""
    stream = _Stream(read_blocks(handle, name, limits))
    index = 0
    try:
        while stream.skip_blank():
            offset = stream.offset
            headers = _headers(stream)
            length = _length(headers) if headers is not None else None
            if headers is None or length is None:
                what = "no Content-Length" if headers is not None else "no WARC header"
                skipped = stream.skip_to_version()
                yield Damage(offset, "bad_warc", f"{what}; {skipped} bytes were skipped")
                continue
            body = stream.take(length) if length <= limits.record_bytes else None
            if body is None:
                stream.skip(length)
            yield WarcRecord(index, offset, headers, length, body)
            index += 1
    except ReadingBroken as error:
        yield error.broken
    except EOFError:
        yield Break("truncated_warc", f"the file ends inside the record at byte {offset}")


def header_fields(block: bytes) -> dict[str, str]:
    """`Name: value` lines as a mapping of lower-case names; the first of repeated ones."""
    fields: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in block.split(b"\n"):
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        if text[:1] in (" ", "\t"):  # the header before goes on
            if values is not None:
                values.append(text.strip())
            continue
        name, colon, value = text.partition(":")
        key = name.strip().lower()
        values = [value.strip()] if colon and key else None
        if values is not None:
            fields.setdefault(key, values)
    return {key: " ".join(parts) for key, parts in fields.items()}


def _headers(stream: "_Stream") -> dict[str, str] | None:
    """The headers of the record that begins here, None if none does."""
    if not stream.peek(len(VERSION)).startswith(VERSION):
        return None
    block = stream.take_until_blank(MAX_HEADER_BYTES)
    return header_fields(block.partition(b"\n")[2]) if block is not None else None


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None


class _Stream:
    """Bytes of an iterator of blocks: look, take, skip. EOFError where they end too early."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._data = b""
        self._at = 0
        self.offset = 0

    def _more(self) -> bool:
        """Hold another block, without what was taken; False at the end."""
        block = next(self._blocks, None)
        if block is None:
            return False
        self._data = self._data[self._at :] + block
        self._at = 0
        return True

    def _advance(self, count: int) -> None:
        self._at += count
        self.offset += count

    def peek(self, count: int) -> bytes:
        """The next bytes, `count` or as many as there are."""
        while len(self._data) - self._at < count and self._more():
            pass
        return self._data[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        have = len(self._data) - self._at
        if have >= count:
            found = self._data[self._at : self._at + count]
            self._advance(count)
            return found
        pieces = [self._data[self._at :]]
        self._advance(have)
        while have < count:
            if not self._more():
                raise EOFError
            piece = self._data[self._at : self._at + count - have]
            pieces.append(piece)
            self._advance(len(piece))
            have += len(piece)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Leave out `count` bytes without holding them."""
        while count > 0:
            have = min(count, len(self._data) - self._at)
            self._advance(have)
            count -= have
            if count > 0 and not self._more():
                raise EOFError

    def skip_blank(self) -> bool:
        """Leave out line ends; False at the end of the stream."""
        while True:
            rest = self.peek(1)
            if not rest:
                return False
            if rest not in b"\r\n":
                return True
            self._advance(1)

    def take_until_blank(self, limit: int) -> bytes | None:
        """The lines up to a blank one, which is taken too; None if none comes within `limit`."""
        searched = 0
        while True:
            data = self._data[self._at : self._at + limit]
            ends = [
                (found, len(mark))
                for mark in (b"\r\n\r\n", b"\n\n")
                if (found := data.find(mark, max(0, searched - 3))) >= 0
            ]
            if ends:
                found, size = min(ends)
                self._advance(found + size)
                return data[:found]
            if len(data) >= limit:
                return None
            searched = len(data)
            if not self._more():
                raise EOFError

    def skip_to_version(self) -> int:
        """Leave out bytes up to the next line that begins a record, or all; how many."""
        start = self.offset
        self._advance(min(1, len(self._data) - self._at))
        mark = b"\n" + VERSION
        while True:
            found = self._data.find(mark, self._at)
            if found >= 0:
                self._advance(found + 1 - self._at)
                return self.offset - start
            keep = min(len(mark) - 1, len(self._data) - self._at)
            self._advance(len(self._data) - self._at - keep)
            if not self._more():
                self._advance(len(self._data) - self._at)
                return self.offset - start
