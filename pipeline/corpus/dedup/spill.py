"""Records too many for memory, kept on disk in partitions that each fit.

add(partition of each record, records) -> one file per partition -> read(partition), sorted there
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.words import I64, U64, ascending

PARTITION_RECORDS = 1_000_000
"""About this many records are sorted at a time: 12 MB of band keys, scratch some times that."""


class Spill:
    """Fixed-size records by partition; the order of adding is kept within a partition."""

    def __init__(
        self, directory: Path, name: str, dtype: npt.DTypeLike, expected_records: int
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.partitions = max(1, -(-expected_records // PARTITION_RECORDS))
        self._paths = [directory / f"{name}-{i}.bin" for i in range(self.partitions)]

    def by_range(self, values: U64 | I64, limit: int) -> I64:
        """The partition of each of the `values` below `limit`: ranges of equal width, ascending."""
        if self.partitions == 1:
            return np.zeros(len(values), np.int64)
        width = -(-limit // self.partitions)
        return (values // values.dtype.type(width)).astype(np.int64)

    def add(self, partition: I64, records: npt.NDArray[np.generic]) -> None:
        """Append records (R,) to their partitions (R,)."""
        if self.partitions == 1:
            self._append(0, records)
            return
        order = np.argsort(partition, kind="stable")
        bounds = np.searchsorted(partition[order], np.arange(self.partitions + 1))
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            self._append(number, records[order[bounds[number] : bounds[number + 1]]])

    def read(self, partition: int) -> Any:
        """The records of a partition, in the order they came; the file is used up."""
        path = self._paths[partition]
        if not path.exists():
            return np.zeros(0, self.dtype)
        records = np.fromfile(path, self.dtype)
        path.unlink()
        return records

    def _append(self, number: int, records: npt.NDArray[np.generic]) -> None:
        if len(records):
            with self._paths[number].open("ab") as file:
                records.tofile(file)

    def look(self, partition: int) -> Any:
        """The records of a partition; they stay."""
        path = self._paths[partition]
        return np.fromfile(path, self.dtype) if path.exists() else np.zeros(0, self.dtype)

    def sort(self, *names: str) -> None:
        """Put the records of each partition in order of some fields, the first one first."""
        for path in self._paths:
            if path.exists():
                records = np.fromfile(path, self.dtype)
                order = np.lexsort([records[name] for name in reversed(names)])
                records[order].tofile(path)

    def read_ascending(self, partition: int) -> Iterator[U64]:
        """The distinct values of a partition of plain 64-bit numbers, some millions at a time."""
        path = self._paths[partition]
        if not path.exists():
            return
        values = np.memmap(path, np.uint64, "r")
        pieces = -(-len(values) // PARTITION_RECORDS)
        sample = np.sort(values[:: max(1, len(values) // 65_536)])
        cuts = sample[np.linspace(0, len(sample), pieces + 1).astype(np.int64)[1:-1]]
        limits = [0, *np.unique(cuts).tolist(), 1 << 64]
        for low, high in zip(limits[:-1], limits[1:], strict=True):
            found = [
                block[(block >= np.uint64(low)) & (block <= np.uint64(high - 1))]
                for block in (
                    values[first : first + PARTITION_RECORDS]
                    for first in range(0, len(values), PARTITION_RECORDS)
                )
            ]
            yield ascending(np.concatenate(found))
        del values
        path.unlink()
