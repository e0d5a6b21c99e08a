"""Compressed or plain bytes cut into records, with the limits that keep memory bounded.

    file -> blocks (gzip, zstd or plain; ratio and size limits) -> UTF-8 -> records (by separator)

Nothing wrong with the bytes raises: a Break is yielded, after the records before it.
"""

import codecs
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from pipeline.corpus.sources.inputs import has_suffix

BLOCK_BYTES = 1 << 20
# A zstd block of 4 bytes may expand to 128 KiB, so one piece of input yields at most 16 MiB.
ZSTD_PIECE_BYTES = 512
RATIO_GRACE_BYTES = 64 << 20  # below this output no ratio is suspicious


@dataclass(frozen=True)
class Limits:
    """Bounds on one input file."""

    record_bytes: int = 16 << 20
    expansion_ratio: float = 250.0
    """Decompressed over compressed bytes; text reaches 3 to 10, gzip's maximum is 1,032."""
    expanded_bytes: int = 1 << 40


@dataclass(frozen=True)
class Break:
    """Reading ends here: the rest of the file is unusable."""

    reason: str
    detail: str


@dataclass(slots=True)  # not frozen: made once per line, and freezing costs a microsecond
class Record:
    """One record without its separator; `data` is None when `num_bytes` exceeded the limit."""

    index: int
    offset: int
    """Byte offset in the decompressed stream."""
    num_bytes: int
    data: bytes | None


class ReadingBroken(Exception):
    """Carries a Break out of a generator of blocks; its `broken` is what happened."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.broken = Break(reason, detail)


def read_records(
    handle: BinaryIO,
    name: str,
    *,
    limits: Limits,
    separator: bytes = b"\n",
    encoding: str = "utf-8",
    length: int | None = None,
    first_row: int = 0,
    first_byte: int = 0,
) -> Iterator[Record | Break]:
    """The records from where `handle` stands, `length` bytes or all; at most one Break, last.

    The end of `name` tells the compression. Raises OSError only.
    """
    blocks = read_blocks(handle, name, limits, length=length)
    if encoding != "utf-8":
        blocks = _transcoded(blocks, encoding)
    carried: list[bytes] = []  # pieces of the record that the last block left open
    held = 0  # their bytes, counted on when they are no longer kept
    index, offset = first_row, first_byte
    size = len(separator)
    tail = b""  # the end of a block that may be the beginning of a separator
    limit = limits.record_bytes
    try:
        for block in blocks:
            pieces = (tail + block if tail else block).split(separator)
            tail = b""
            rest = pieces.pop()
            if pieces and (carried or held):
                yield _record(carried, held, pieces[0], index, offset, limit)
                offset += held + len(pieces[0]) + size
                index += 1
                carried, held = [], 0
                del pieces[0]
            for piece in pieces:
                length_of_piece = len(piece)
                data = piece if length_of_piece <= limit else None
                yield Record(index, offset, length_of_piece, data)
                offset += length_of_piece + size
                index += 1
            keep = _overlap(rest, separator) if size > 1 else 0
            if keep:
                rest, tail = rest[:-keep], rest[-keep:]
            held += len(rest)
            if held > limit:
                carried = []
            elif rest:
                carried.append(rest)
    except ReadingBroken as error:
        yield error.broken
        return
    if held or tail:
        yield _record(carried, held, tail, index, offset, limit)


def _record(
    carried: list[bytes], held: int, piece: bytes, index: int, offset: int, limit: int
) -> Record:
    num_bytes = held + len(piece)
    data = b"".join([*carried, piece]) if num_bytes <= limit else None
    return Record(index, offset, num_bytes, data)


def _overlap(data: bytes, separator: bytes) -> int:
    """Length of the longest end of `data` that begins the separator; 0 for one-byte separators."""
    for size in range(min(len(separator) - 1, len(data)), 0, -1):
        if separator.startswith(data[-size:]):
            return size
    return 0


def read_blocks(
    handle: BinaryIO, name: str, limits: Limits, *, length: int | None = None
) -> Iterator[bytes]:
    """Decompressed blocks of at most a few MiB; raises `ReadingBroken` where reading has to end."""
    blocks = _plain(handle, length)
    if has_suffix(name, (".gz",)):
        blocks = _gunzip(handle)
    elif has_suffix(name, (".zst",)):
        blocks = _unzstd(handle)
    expanded = 0
    for block in blocks:
        yield block  # it is in memory already; what follows it is not read
        expanded += len(block)
        if expanded > limits.expanded_bytes:
            raise ReadingBroken(
                "too_large", f"more than {limits.expanded_bytes} bytes after decompression"
            )
        if expanded > RATIO_GRACE_BYTES:
            consumed = max(handle.tell(), 1)
            if expanded > limits.expansion_ratio * consumed:
                raise ReadingBroken(
                    "expansion_ratio",
                    f"{consumed} bytes expanded to {expanded}; "
                    f"limit {limits.expansion_ratio:g} times",
                )


def _plain(handle: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    left = length if length is not None else 1 << 62
    while left > 0 and (block := handle.read(min(BLOCK_BYTES, left))):
        left -= len(block)
        yield block


def _transcoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-8 of text in another encoding; what is no text there is no UTF-8 here either."""
    decoder = codecs.getincrementaldecoder(encoding)(errors=_MARK)
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        if rest := decoder.decode(b"", final=True):
            yield rest.encode("utf-8", "surrogatepass")
    except UnicodeError as error:  # UTF-16 without a byte order mark
        raise ReadingBroken("bad_encoding", str(error)) from error


def _mark(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for what cannot be decoded: its record fails as UTF-8, the others stay."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


_MARK = "gristmill.mark"
codecs.register_error(_MARK, _mark)


def _gunzip(handle: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file; zero padding between and after them is allowed."""
    decoder = zlib.decompressobj(wbits=31)
    open_member = False
    data = b""
    while data or (data := handle.read(1 << 16)):
        if not open_member:
            data = data.lstrip(b"\0")
            if not data:
                continue
        try:
            block = decoder.decompress(data, BLOCK_BYTES)
        except zlib.error as error:
            raise ReadingBroken("bad_gzip", str(error)) from error
        open_member = True
        data = decoder.unconsumed_tail
        if block:
            yield block
        if decoder.eof:
            data = decoder.unused_data
            decoder = zlib.decompressobj(wbits=31)
            open_member = False
    if open_member:
        rest = decoder.flush()  # output of a member whose last input byte was already taken
        if rest:
            yield rest
        if not decoder.eof:
            raise ReadingBroken("truncated_gzip", "the file ends inside a compressed member")


def _unzstd(handle: BinaryIO) -> Iterator[bytes]:
    """All frames of a zstd file. Its streaming reader takes a truncated file for a whole one."""
    decoder = zstandard.ZstdDecompressor().decompressobj()
    open_frame = False
    broken: ReadingBroken | None = None
    data = b""
    ready: list[bytes] = []
    ready_bytes = 0
    while data or (data := handle.read(ZSTD_PIECE_BYTES)):
        try:
            block = decoder.decompress(data)
        except zstandard.ZstdError as error:
            broken = ReadingBroken("bad_zstd", str(error))
            break
        open_frame, data = True, b""
        ready.append(block)
        ready_bytes += len(block)
        if ready_bytes >= BLOCK_BYTES:
            yield b"".join(ready)
            ready, ready_bytes = [], 0
        if decoder.eof:
            data = decoder.unused_data
            decoder = zstandard.ZstdDecompressor().decompressobj()
            open_frame = False
    if ready_bytes:
        yield b"".join(ready)
    if broken is not None:
        raise broken
    if open_frame:
        raise ReadingBroken("truncated_zstd", "the file ends inside a compressed frame")
