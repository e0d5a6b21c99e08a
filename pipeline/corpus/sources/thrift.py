"""Thrift's compact protocol, reading only: enough for the headers of Parquet's pages.

    bytes -> Compact.struct() -> {field number: whole number, or the fields of a struct inside}

By Apache Thrift's `thrift-compact-protocol.md`.
"""

from typing import Any

MAX_NESTING = 16  # of structs; those of Parquet's headers have three levels
STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)


class Compact:
    """A place in `data`; IndexError where the data ends too early, ValueError for nonsense."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Its whole numbers of 32 bits and its structs; the rest is skipped, as Arrow does.

        What two readers could understand in two ways is refused.
        """
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != STOP:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            value = self._value(kind, depth)
            if kind in (I32, STRUCT):
                if number in fields:
                    raise ValueError(f"a header has its field {number} twice")
                fields[number] = value
                if kind == I32 and not -(1 << 31) <= value < 1 << 31:
                    raise ValueError(f"field {number} of a header exceeds 32 bits")
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MAX_NESTING:
            raise ValueError("a header is nested too deeply")
        if kind in (TRUE, FALSE):
            return None
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (BYTE, DOUBLE, BINARY):
            self._skip({BYTE: 1, DOUBLE: 8}.get(kind) or self._varint())
        elif kind in (LIST, SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(count):
                self._element(head & 15, depth)
        elif kind == MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._element(kinds >> 4, depth)
                self._element(kinds & 15, depth)
        else:
            raise ValueError(f"a header has a field of the unknown type {kind}")
        return None

    def _element(self, kind: int, depth: int) -> None:
        if kind in (TRUE, FALSE):
            self._byte()  # inside a container a truth value takes a byte
        else:
            self._value(kind, depth + 1)

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a header has a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
