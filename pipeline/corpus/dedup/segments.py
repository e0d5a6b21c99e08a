"""Where the rows to be compared lie: held-out documents, earlier corpora, the parts of this one.

A segment is opened for a look and let go again, so that what is resident stays bounded however
many and however large the parts are.
"""

import mmap
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.store.errors import ArtifactError

HELD_OUT, EARLIER, CURRENT = range(3)
_MOST_OPEN = 128  # below the usual limit of 1,024 open files


@dataclass(frozen=True)
class Segment:
    """Rows of one kind and source; `table` for what is in memory, `path` for a file."""

    kind: int
    source: str
    """Name of the source; of an earlier corpus its reference."""
    path: Path | None = None
    table: pa.Table | None = None
    dropped: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows that left their own corpus already (earlier corpora only)."""


class Segments:
    """Opens segments by number, at most _MOST_OPEN files at a time."""

    def __init__(self, members: Sequence[Segment]) -> None:
        self.members = tuple(members)
        self._open: OrderedDict[int, tuple[pa.Table, mmap.mmap]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.members)

    @contextmanager
    def opened(self, number: int) -> Iterator[pa.Table]:
        """The table of a segment; what was read of a file is let go of on leaving."""
        member = self.members[number]
        if member.table is not None:
            yield member.table
            return
        assert member.path is not None
        if number not in self._open:
            self._open[number] = _map(member.path)
        self._open.move_to_end(number)
        table, mapped = self._open[number]
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        yield table
        mapped.madvise(mmap.MADV_DONTNEED)  # file pages: read again when they are wanted again


def _map(path: Path) -> tuple[pa.Table, mmap.mmap]:
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all(), mapped
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise ArtifactError(
            f"{path} is not a readable signature file ({error}); delete {path.parent} and rerun"
        ) from error


def flat(column: pa.ChunkedArray) -> Any:
    """The values of a list column as one array, lists back to back."""
    pieces = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    value_type = column.type.value_type.to_pandas_dtype()
    return np.concatenate([np.zeros(0, value_type), *pieces]) if len(pieces) != 1 else pieces[0]
