"""Packed rows of examples, read from an Arrow IPC file (ids, trainable, segment per token).

A row holds up to T + 1 tokens; segment 0 marks padding, and so does the end of a shorter row. The
shift by one that turns a row into inputs, targets and mask happens here and nowhere else.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import sha256_file
from pipeline.tokens.buffers import Buffers
from pipeline.tokens.shards import view

_COLUMNS = ("ids", "trainable", "segment")


class PackedFile:
    """The rows of one packed file as numbered samples."""

    def __init__(self, path: Path, context_length: int | None = None) -> None:
        """Map the file. ArtifactError if it is no packed file, DataError if it holds no row."""
        self.path = path
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            table = reader.read_all().combine_chunks()
            columns = [table.column(name) for name in _COLUMNS]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ArtifactError(f"{path} is no file of packed rows: {error}; rebuild it") from error
        if table.num_rows == 0:
            raise DataError(f"{path} holds no rows; give it examples that fit the context")
        lists = [column.chunk(0) for column in columns]
        self._ids, self._trainable, self._segment = (view(rows.values) for rows in lists)
        self._offsets = view(lists[0].offsets).astype(np.int64)
        for name, rows in zip(_COLUMNS, lists, strict=True):
            if not np.array_equal(view(rows.offsets), self._offsets):
                raise ArtifactError(
                    f"{path}: column {name} has other row lengths than ids; rebuild it"
                )
        longest = int(np.diff(self._offsets).max()) - 1
        stored = (reader.schema.metadata or {}).get(b"context_length")
        self.context_length = context_length or (int(stored) if stored else max(longest, 1))
        if longest > self.context_length:
            raise ConfigError(
                f"{path} holds rows for context_length={longest}, asked for {self.context_length}; "
                f"raise it to {longest} or pack the examples again"
            )
        self.num_samples = table.num_rows
        self.sha256 = sha256_file(path)
        named = (reader.schema.metadata or {}).get(b"tokenizer_sha256", b"")
        self.tokenizer_sha256 = named.decode()

    def fill(self, ids: npt.NDArray[np.int64], into: Buffers) -> None:
        """Write row ids[i] into row i; rows beyond len(ids) become padding."""
        tokens, T = into.tokens, self.context_length
        segment = np.zeros(tokens.shape, np.int64)  # (B, T + 1)
        trainable = np.zeros(tokens.shape, np.float32)
        tokens.fill(0)
        for row, sample in enumerate(ids.tolist()):
            begin, stop = self._offsets[sample], self._offsets[sample + 1]
            length = stop - begin
            tokens[row, :length] = self._ids[begin:stop]
            segment[row, :length] = self._segment[begin:stop]
            trainable[row, :length] = self._trainable[begin:stop]
        same = (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0)
        np.multiply(trainable[:, 1:], same, out=into.loss_mask)
        into.segment_ids[:] = segment[:, :-1]
        begins = np.zeros((len(tokens), T), np.int64)
        changes = segment[:, 1:T] != segment[:, : T - 1]
        begins[:, 1:] = changes * np.arange(1, T)
        np.maximum.accumulate(begins, axis=1, out=begins)
        np.subtract(np.arange(T), begins, out=into.positions)
