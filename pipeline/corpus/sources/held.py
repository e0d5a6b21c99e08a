"""A file far away whose next bytes are fetched once and read twice: by us, then by a decoder."""

import io
from collections.abc import Sequence
from typing import BinaryIO


class HeldRanges(io.RawIOBase):
    """Reads `handle`; what `hold` fetched is answered from memory until it was read as a whole."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._at = 0
        self._held: dict[int, bytes] = {}

    def hold(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch ranges of (first byte, length), and forget those held before."""
        self._held = {}
        for start, length in ranges:
            self._handle.seek(start)
            self._held[start] = self._handle.read(length)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The next byte to be read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As every file does."""
        if whence == io.SEEK_END:
            self._at = self._handle.seek(offset, whence)
        else:
            self._at = offset + (self._at if whence == io.SEEK_CUR else 0)
        return self._at

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        """The bytes from here on; fewer than `size` at the end only."""
        for start, data in self._held.items():
            if start <= self._at and 0 <= size <= start + len(data) - self._at:
                found = data[self._at - start : self._at - start + size]
                if size == len(data):
                    del self._held[start]  # the decoder has them all
                break
        else:
            self._handle.seek(self._at)
            found = self._handle.read(size)
        self._at += len(found)
        return found
