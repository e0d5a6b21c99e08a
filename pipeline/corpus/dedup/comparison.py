"""Everything to be compared across parts, loaded without any text and put in order of preference.

held-out documents + signatures.arrow of each part -> M rows, the most preferred first
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.dedup.held_out import HeldOut
from pipeline.corpus.dedup.keys import CONTENT_KEY_BYTES
from pipeline.corpus.dedup.minhash import U32
from pipeline.corpus.document import open_documents
from pipeline.corpus.words import I64

HELD_OUT_PART = -1
_PREFERENCE = [
    ("is_held_out", "descending"),
    ("chars", "descending"),
    ("part", "ascending"),
    ("doc_id", "ascending"),
    ("row", "ascending"),
]


@dataclass(frozen=True)
class Comparison:
    """M documents in the order of preference: held-out, longest, first part, smallest id."""

    part: I64
    """(M,) index of the part; HELD_OUT_PART for held-out documents."""
    row: I64
    """(M,) row in that part, or in the held-out set."""
    doc_id: list[str]
    num_bytes: I64
    key: pa.Array
    """(M,) content keys; null for held-out documents, whose copies are gone already."""
    overlap: npt.NDArray[np.float64]
    """(M,) share of its own 13-grams that are held-out text."""
    covered: npt.NDArray[np.float64]
    """(M,) largest share of one held-out document's 13-grams that it has."""
    signatures: U32
    """(M, size)"""
    num_shingles: I64
    """(M,)"""
    parts: list[pa.Table]
    """signatures.arrow of each part, memory-mapped."""
    held_out: HeldOut

    def __len__(self) -> int:
        return len(self.part)

    @property
    def is_held_out(self) -> npt.NDArray[np.bool_]:
        """(M,)"""
        return self.part == HELD_OUT_PART

    def shingles(self, index: int) -> U32:
        """Distinct shingles of one document, ascending."""
        part, row = int(self.part[index]), int(self.row[index])
        if part == HELD_OUT_PART:
            bounds = self.held_out.shingles.bounds
            return self.held_out.shingles.hashes[bounds[row] : bounds[row + 1]]
        return np.asarray(self.parts[part].column("shingles")[row].values.to_numpy(), np.uint32)


def load_comparison(signature_files: Sequence[Path], held_out: HeldOut) -> Comparison:
    """Load the signatures of all parts; order depends on content and part order only."""
    parts = [_read(path) for path in signature_files]
    size = held_out.signatures.shape[1]
    rows = [_held_out_rows(held_out)] + [_part_rows(i, part) for i, part in enumerate(parts)]
    table = pa.concat_tables(rows)
    order = pc.sort_indices(table, sort_keys=_PREFERENCE)
    table = table.take(order)
    signatures = np.concatenate([held_out.signatures, *(_flat(part, size) for part in parts)])
    return Comparison(
        part=table.column("part").to_numpy(),
        row=table.column("row").to_numpy(),
        doc_id=table.column("doc_id").to_pylist(),
        num_bytes=table.column("bytes").to_numpy(),
        key=table.column("key").combine_chunks(),
        overlap=table.column("overlap").to_numpy(),
        covered=table.column("covered").to_numpy(),
        signatures=signatures[order.to_numpy()],
        num_shingles=table.column("num_shingles").to_numpy(),
        parts=parts,
        held_out=held_out,
    )


def _read(path: Path) -> pa.Table:
    with open_documents(path) as reader:
        return reader.read_all()


def _flat(part: pa.Table, size: int) -> U32:
    """(rows, size) signatures of a part."""
    pieces = [chunk.flatten().to_numpy() for chunk in part.column("signature").chunks]
    return np.concatenate([np.zeros(0, np.uint32), *pieces]).reshape(-1, size)


def _part_rows(index: int, part: pa.Table) -> pa.Table:
    count = part.num_rows
    return pa.table(
        {
            "is_held_out": pa.array(np.zeros(count, np.int8)),
            "part": pa.array(np.full(count, index, np.int64)),
            "row": pa.array(np.arange(count, dtype=np.int64)),
            "doc_id": part.column("doc_id"),
            "chars": part.column("chars"),
            "bytes": part.column("bytes"),
            "key": part.column("key"),
            "overlap": part.column("overlap"),
            "covered": part.column("covered"),
            "num_shingles": pc.list_value_length(part.column("shingles")),
        }
    )


def _held_out_rows(held_out: HeldOut) -> pa.Table:
    count = len(held_out.doc_ids)
    return pa.table(
        {
            "is_held_out": pa.array(np.ones(count, np.int8)),
            "part": pa.array(np.full(count, HELD_OUT_PART, np.int64)),
            "row": pa.array(np.arange(count, dtype=np.int64)),
            "doc_id": pa.array(held_out.doc_ids, pa.string()),
            "chars": pa.array(held_out.chars),
            "bytes": pa.array(np.zeros(count, np.int64)),
            "key": pa.nulls(count, pa.binary(CONTENT_KEY_BYTES)),
            "overlap": pa.array(np.zeros(count, np.float64)),
            "covered": pa.array(np.zeros(count, np.float64)),
            "num_shingles": pa.array(held_out.shingles.counts),
        }
    )
