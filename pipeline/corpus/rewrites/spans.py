"""Pieces of a batch's text that give way to others: found as byte spans, replaced all at once.

    Text (data, offsets) + Spans (starts, ends) + replacements -> Text

Legend: N documents, K spans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.document import TextBatch

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """The UTF-8 bytes of N documents: document i is `data[offsets[i]:offsets[i + 1]]`."""

    data: npt.NDArray[np.uint8]
    """Read-only; may reach beyond the documents."""
    offsets: I64
    """(N + 1,) int64."""

    @classmethod
    def of(cls, batch: TextBatch) -> "Text":
        """The batch's text, without a copy."""
        return cls(batch.data, batch.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def view(self) -> memoryview:
        """`data` as slices of bytes, without a copy."""
        return memoryview(self.data.data)

    @cached_property
    def blob(self) -> bytes:
        """All documents in one bytes object, in which byte k is `data[offsets[0] + k]`."""
        return self.data[self.offsets[0] : self.offsets[-1]].tobytes()

    def documents_of(self, positions: I64) -> I64:
        """(K,) which document each byte position lies in."""
        return np.searchsorted(self.offsets, positions, side="right") - 1

    def positions_of(self, byte: int) -> I64:
        """Where `byte` occurs, ascending."""
        first, last = self.offsets[0], self.offsets[-1]
        return np.flatnonzero(self.data[first:last] == byte) + first

    def into(self, batch: TextBatch) -> TextBatch:
        """`batch` with this text in place of its own."""
        first = int(self.offsets[0])
        buffers = [None, pa.py_buffer((self.offsets - first).tobytes()), pa.py_buffer(self.blob)]
        column = pa.LargeStringArray.from_buffers(len(self), buffers[1], buffers[2])
        index = batch.table.schema.get_field_index("text")
        field = pa.field("text", pa.large_string(), nullable=False)
        return TextBatch(batch.table.set_column(index, field, column))


def replace(text: Text, starts: I64, ends: I64, replacements: Sequence[bytes]) -> Text:
    """The text with K ascending spans, none across documents or overlapping, replaced."""
    if not len(starts):
        return text
    first = int(text.offsets[0])
    blob, position = memoryview(text.blob), 0
    pieces: list[bytes | memoryview] = []
    for start, end, new in zip(
        (starts - first).tolist(), (ends - first).tolist(), replacements, strict=True
    ):
        pieces += [blob[position:start], new]
        position = end
    pieces.append(blob[position:])
    grown = np.fromiter(map(len, replacements), np.int64, count=len(starts)) - (ends - starts)
    shift = np.concatenate([[0], np.cumsum(grown)])  # (K + 1,)
    offsets = text.offsets - first + shift[np.searchsorted(starts, text.offsets)]
    return Text(np.frombuffer(b"".join(pieces), np.uint8), offsets)


def rank_in_document(documents: I64) -> I64:
    """(K,) how many earlier spans lie in the same document; `documents` (K,) ascends."""
    if not len(documents):
        return documents
    heads = np.flatnonzero(np.diff(documents, prepend=-1))
    return np.arange(len(documents)) - np.repeat(heads, np.diff(heads, append=len(documents)))
