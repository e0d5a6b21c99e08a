"""Rows whose targets are classes, not the next tokens: packed rows with one column more.

ids, trainable, segment as in rows.py, and target: the class of the token at the *same* place.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.store.errors import ArtifactError
from pipeline.tokens.batches import PackedRows
from pipeline.tokens.buffers import ArrayBatch
from pipeline.tokens.order import Ids
from pipeline.tokens.shards import view

SCHEMA = pa.schema([
    ("ids", pa.list_(pa.uint32())),
    ("trainable", pa.list_(pa.uint8())),
    ("segment", pa.list_(pa.uint32())),
    ("target", pa.list_(pa.uint32())),
])  # fmt: skip


class LabelledRows(PackedRows):
    """Batches of labelled rows; a row holds at most T tokens, for nothing is moved by one."""

    def __init__(
        self, path: Path, *, rows: int, seed: int = 0, context_length: int | None = None
    ) -> None:
        """Map the file; ArtifactError if it is none of labelled rows."""
        super().__init__(path, rows=rows, seed=seed, context_length=context_length)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
            target, trainable = (table.column(name).chunk(0) for name in ("target", "trainable"))
        except (pa.ArrowException, KeyError) as error:
            raise ArtifactError(
                f"{path} is no file of labelled rows: {error}; rebuild it"
            ) from error
        self._target, self._trainable = view(target.values), view(trainable.values)
        self._offsets = view(target.offsets).astype(np.int64)
        longest = int(np.diff(self._offsets).max())
        if longest > self.context_length:
            raise ArtifactError(
                f"{path} has a row of {longest} tokens for a context of {self.context_length}; "
                "rebuild it"
            )
        self.transform = self._with_classes

    def _with_classes(self, arrays: ArrayBatch, epochs: Ids, samples: Ids) -> ArrayBatch:
        """The batch with the classes for targets, and a loss where one is to be found."""
        del epochs
        targets = np.zeros_like(arrays["targets"])
        loss_mask = np.zeros_like(arrays["loss_mask"])
        for row, sample in enumerate(samples.tolist()):
            begin, stop = self._offsets[sample], self._offsets[sample + 1]
            targets[row, : stop - begin] = self._target[begin:stop]
            loss_mask[row, : stop - begin] = self._trainable[begin:stop]
        return {**arrays, "targets": targets, "loss_mask": loss_mask}
