"""Reading a CleanedCorpus: its parts in order, each minus the rows and bytes removed across parts.

CleanedCorpus -> kept_parts -> KeptPart -> read_kept -> Arrow table
              -> iter_documents -> Document, one by one
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.document import TextBatch, iter_batches, open_documents
from pipeline.corpus.mixing import mix_name, passes, read_repeats
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.store.fingerprint import digest
from pipeline.store.manifest import read_manifest

READ_COLUMNS = ("doc_id", "text", "source")
I64 = npt.NDArray[np.int64]
CUT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # in the part's documents.arrow, ascending
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("begin", pa.int64(), nullable=False),  # first UTF-8 byte of the text that is cut
        pa.field("end", pa.int64(), nullable=False),  # the byte after the last
        pa.field("reason", pa.string(), nullable=False),  # repeated_line, held_out_text
        pa.field("duplicate_of", pa.string()),  # held-out document it shares most with
        pa.field("duplicate_in", pa.string()),  # and its set
    ]
)


@dataclass(frozen=True)
class KeptPart:
    """A cleaned part and the list of its rows that deduplication and decontamination removed."""

    path: Path
    removed: Path
    """Arrow IPC file: row, doc_id, reason, and more (`dedup.removal.REMOVED_SCHEMA`)."""
    fingerprint: str
    """Digest of the part and of these lists: equal fingerprints, equal text in equal order."""
    cuts: Path | None = None
    """Arrow IPC file in CUT_SCHEMA; None where nothing is cut."""
    mix: Path | None = None
    """Arrow IPC file in `mixing.MIX_SCHEMA`; None where every document is used once."""


@dataclass(frozen=True)
class Document:
    """One kept document."""

    doc_id: str
    text: str
    source: str


def cuts_name(index: int) -> str:
    """File name of the cuts of the part at `index`; absent where nothing is cut."""
    return f"cuts-{index}.arrow"


def removed_name(index: int) -> str:
    """File name of the removal list of the part at `index`."""
    return f"removed-{index}.arrow"


def read_removed(directory: Path, index: int) -> pa.Table:
    """The removal list of the part at `index` of the corpus in `directory`, rows ascending."""
    with open_documents(directory / removed_name(index)) as reader:
        return reader.read_all()


def kept_parts(corpus: CleanedCorpus) -> list[KeptPart]:
    """The parts in order; a part whose documents were all removed is still listed."""
    parts = []
    for index, path in enumerate(corpus.part_paths()):
        removed = corpus.path / removed_name(index)
        cuts = corpus.path / cuts_name(index)
        identity: dict[str, object] = {
            "part": read_manifest(path).fingerprint,
            "removed": _removed_rows(removed).tolist(),
        }
        if cuts.is_file():
            identity["cuts"] = [column.tolist() for column in _cut_columns(cuts)]
        mix = corpus.path / mix_name(index)
        if mix.is_file():
            with open_documents(mix) as reader:
                identity["mix"] = reader.read_all().to_pydict()
        parts.append(
            KeptPart(
                path, removed, digest(identity),
                cuts if cuts.is_file() else None, mix if mix.is_file() else None,
            )
        )  # fmt: skip
    return parts


def read_cuts(directory: Path, index: int) -> pa.Table:
    """What is cut out of the kept documents of the part at `index`, in CUT_SCHEMA."""
    path = directory / cuts_name(index)
    if not path.is_file():
        return CUT_SCHEMA.empty_table()
    with open_documents(path) as reader:
        return reader.read_all()


def cut_bytes(directory: Path, index: int) -> int:
    """Bytes the kept documents of the part at `index` lose; overlapping cuts count once."""
    return int(cut_bytes_by_row(directory, index)[1].sum())


def cut_bytes_by_row(directory: Path, index: int) -> tuple[I64, I64]:
    """((R,) rows of the part at `index` that are cut, ascending, (R,) bytes each of them loses)."""
    table = read_cuts(directory, index)
    row, begin, end = (table.column(name).to_numpy() for name in ("row", "begin", "end"))
    if not len(row):
        return row, begin
    # Bytes of all documents on one line, each document far from the next.
    shift = row * (int(end.max()) + 1)
    reached = np.maximum.accumulate(end + shift)
    fresh = np.maximum(begin + shift, np.concatenate([[0], reached[:-1]]))
    lost = np.maximum(end + shift - fresh, 0)
    rows, firsts = np.unique(row, return_index=True)
    return rows, np.add.reduceat(lost, firsts)


def iter_kept(part: KeptPart, columns: Sequence[str] = READ_COLUMNS) -> Iterator[TextBatch]:
    """The kept documents of a part less what is cut, one record batch at a time, in order.

    A mixed corpus gives the part several times over, each time only the rows drawn so often.
    """
    if part.mix is None:
        yield from _iter_once(part, columns, None)
        return
    with open_documents(part.path / DOCUMENTS) as reader:
        count = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
    for drawn in passes(read_repeats(part.mix, count)):
        yield from _iter_once(part, columns, drawn)


def read_kept(part: KeptPart, columns: Sequence[str] = READ_COLUMNS) -> pa.Table:
    """The kept documents of a part as one table, in order."""
    with open_documents(part.path / DOCUMENTS) as reader:
        schema = pa.schema([reader.schema.field(name) for name in columns])
    tables = [batch.table for batch in iter_kept(part, columns)]
    return pa.concat_tables([schema.empty_table(), *tables])


def iter_documents(corpus: CleanedCorpus) -> Iterator[Document]:
    """Every kept document of the corpus, in order, holding one record batch in memory."""
    for part in kept_parts(corpus):
        for batch in iter_kept(part):
            rows = zip(batch.doc_ids, batch.texts, batch.sources, strict=True)
            yield from (Document(*row) for row in rows)


def _iter_once(
    part: KeptPart, columns: Sequence[str], drawn: npt.NDArray[np.bool_] | None
) -> Iterator[TextBatch]:
    removed = _removed_rows(part.removed)
    cuts = _cut_columns(part.cuts) if part.cuts is not None and "text" in columns else None
    start = 0
    for batch in iter_batches(part.path / DOCUMENTS, columns):
        stop = start + len(batch)
        if cuts is not None:
            low, high = np.searchsorted(cuts[0], (start, stop))
            batch = _without(batch, cuts[0][low:high] - start, cuts[1][low:high], cuts[2][low:high])
        keep = np.ones(len(batch), np.bool_) if drawn is None else drawn[start:stop].copy()
        low, high = np.searchsorted(removed, (start, stop))
        keep[removed[low:high] - start] = False
        start = stop
        yield batch if keep.all() else batch.filtered(keep)


def _removed_rows(path: Path) -> I64:
    """(R,) removed rows, ascending."""
    with open_documents(path) as reader:
        rows: I64 = reader.read_all().column("row").to_numpy()
        return rows


def _cut_columns(path: Path) -> tuple[I64, I64, I64]:
    """((C,) rows ascending, first bytes, bytes past the last)."""
    with open_documents(path) as reader:
        table = reader.read_all()
    row, begin, end = (table.column(name).to_numpy() for name in ("row", "begin", "end"))
    return row, begin, end


def _without(batch: TextBatch, rows: I64, begins: I64, ends: I64) -> TextBatch:
    """The batch less some bytes of some texts; cuts of one row come in order and may overlap."""
    if not len(rows):
        return batch
    texts = list(batch.texts)
    for row in np.unique(rows).tolist():
        data = texts[row].encode("utf-8")
        pieces, at = [], 0
        here = rows == row
        for begin, end in zip(begins[here].tolist(), ends[here].tolist(), strict=True):
            pieces.append(data[at : max(begin, at)])
            at = max(at, end)
        texts[row] = b"".join([*pieces, data[at:]]).decode("utf-8")
    return batch.with_texts(texts)
