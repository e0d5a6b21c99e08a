"""Compressed or plain bytes cut into records, with the limits that keep memory bounded.

    file -> blocks (gzip, zstd or plain; ratio and size limits) -> records (separator and limit)

Nothing wrong with the bytes raises: a Break is yielded, after the records before it.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

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


@dataclass(frozen=True)
class Record:
    """One record without its separator; `data` is None when `num_bytes` exceeded the limit."""

    index: int
    offset: int
    """Byte offset in the decompressed stream."""
    num_bytes: int
    data: bytes | None


class _Broken(Exception):
    """Carries a Break out of a generator of blocks."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.broken = Break(reason, detail)


def read_records(
    path: Path, *, limits: Limits, separator: bytes = b"\n"
) -> Iterator[Record | Break]:
    """The records of one file; at most one Break, last. Raises OSError only."""
    with open(path, "rb") as handle:
        carried: list[bytes] = []  # pieces of the record that the last block left open
        held = 0  # their bytes, counted on when they are no longer kept
        index = offset = 0
        tail = b""  # the end of a block that may be the beginning of a separator
        try:
            for block in _bounded(handle, path, limits):
                pieces = (tail + block).split(separator)
                tail = b""
                for piece in pieces[:-1]:
                    yield _record(carried, held, piece, index, offset, limits.record_bytes)
                    offset += held + len(piece) + len(separator)
                    index += 1
                    carried, held = [], 0
                rest = pieces[-1]
                keep = _overlap(rest, separator)
                if keep:
                    rest, tail = rest[:-keep], rest[-keep:]
                held += len(rest)
                if held <= limits.record_bytes:
                    carried.append(rest)
                else:
                    carried = []
        except _Broken as error:
            yield error.broken
            return
        if held or tail:
            yield _record(carried, held, tail, index, offset, limits.record_bytes)


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


def _bounded(handle: BinaryIO, path: Path, limits: Limits) -> Iterator[bytes]:
    blocks = _plain(handle)
    if path.name.endswith(".gz"):
        blocks = _gunzip(handle)
    elif path.name.endswith(".zst"):
        blocks = _unzstd(handle)
    expanded = 0
    for block in blocks:
        yield block  # it is in memory already; what follows it is not read
        expanded += len(block)
        if expanded > limits.expanded_bytes:
            raise _Broken(
                "too_large", f"more than {limits.expanded_bytes} bytes after decompression"
            )
        consumed = max(handle.tell(), 1)
        if expanded > RATIO_GRACE_BYTES and expanded > limits.expansion_ratio * consumed:
            raise _Broken(
                "expansion_ratio",
                f"{consumed} bytes expanded to {expanded}; limit {limits.expansion_ratio:g} times",
            )


def _plain(handle: BinaryIO) -> Iterator[bytes]:
    while block := handle.read(BLOCK_BYTES):
        yield block


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
            raise _Broken("bad_gzip", str(error)) from error
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
            raise _Broken("truncated_gzip", "the file ends inside a compressed member")


def _unzstd(handle: BinaryIO) -> Iterator[bytes]:
    """All frames of a zstd file. Its streaming reader takes a truncated file for a whole one."""
    decoder = zstandard.ZstdDecompressor().decompressobj()
    open_frame = False
    broken: _Broken | None = None
    data = b""
    ready: list[bytes] = []
    ready_bytes = 0
    while data or (data := handle.read(ZSTD_PIECE_BYTES)):
        try:
            block = decoder.decompress(data)
        except zstandard.ZstdError as error:
            broken = _Broken("bad_zstd", str(error))
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
        raise _Broken("truncated_zstd", "the file ends inside a compressed frame")
