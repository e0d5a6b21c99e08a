"""All documents to be compared, numbered in the order of preference, with the verdict on each.

    held-out < earlier corpora < this corpus: preferred sources, length, order of sources, id

M documents; a *rank* is a place in that order, a *row* a place in the files. What is held per
document is 26 bytes; everything else stays in the files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.arrow_arrays import number_array
from pipeline.corpus.dedup.segments import CURRENT, HELD_OUT, Segment, Segments
from pipeline.corpus.dedup.settings import KeepRule
from pipeline.corpus.words import I64, U64
from pipeline.store.errors import ConfigError, DataError

I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

STAYS = 0
GONE = 255
"""Of an earlier corpus, which dropped it itself."""
_ID_BATCH = 250_000  # ids sorted at a time; bounds the memory that strings take
_LENGTH_BITS = 33
_LONGEST = (1 << _LENGTH_BITS) - 1


@dataclass
class Pool:
    """Documents of all segments; `reason`, `twin`, `jaccard` are filled in as they are judged."""

    segments: Segments
    starts: I64
    """(S + 1,) first row of each segment."""
    rank: I32
    """(M,) rank of each row."""
    row: I32
    """(M,) row of each rank."""
    num_shingles: I32
    """(M,) by rank."""
    reason: U8
    """(M,) by rank: STAYS, GONE, or an index of removal.REASONS."""
    twin: I32
    """(M,) by rank: the rank of the document because of which it leaves; -1 without one."""
    jaccard: npt.NDArray[np.float32]
    """(M,) by rank: similarity with the twin; NaN where it was not measured."""
    num_held_out: int
    num_fixed: int
    """Ranks below it are held-out documents or in earlier corpora: they cannot leave."""

    def __len__(self) -> int:
        return len(self.rank)

    def remove(self, ranks: I64 | I32, reason: int, twins: I64 | I32, jaccard: float) -> None:
        """Let documents leave for one reason."""
        self.reason[ranks] = reason
        self.twin[ranks] = twins
        self.jaccard[ranks] = jaccard

    def ranks_of(self, segment: int) -> I32:
        """(rows,) ranks of a segment's rows."""
        return self.rank[self.starts[segment] : self.starts[segment + 1]]

    def by_segment(self, ranks: I64) -> Iterator[tuple[int, I64, I64]]:
        """(segment, places in `ranks`, rows in the segment), segments ascending."""
        rows = self.row[ranks].astype(np.int64)
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], self.starts)
        for segment in np.flatnonzero(np.diff(bounds)).tolist():
            places = order[bounds[segment] : bounds[segment + 1]]
            yield segment, places, rows[places] - self.starts[segment]

    def ids(self, ranks: I64) -> list[str]:
        """The document ids of some ranks."""
        found: list[str] = [""] * len(ranks)
        for segment, places, rows in self.by_segment(ranks):
            with self.segments.opened(segment) as table:
                names = table.column("doc_id").take(number_array(rows)).to_pylist()
            for place, name in zip(places.tolist(), names, strict=True):
                found[place] = name
        return found

    def shingles(self, ranks: I64) -> tuple[npt.NDArray[np.unsignedinteger], I64]:
        """((H,) shingles, (R + 1,) bounds) of some ranks, ascending within each."""
        bounds = np.concatenate([[0], np.cumsum(self.num_shingles[ranks], dtype=np.int64)])
        values: npt.NDArray[np.unsignedinteger] | None = None
        for segment, places, rows in self.by_segment(ranks):
            with self.segments.opened(segment) as table:
                column = table.column("shingles")
                if values is None:
                    values = np.empty(bounds[-1], column.type.value_type.to_pandas_dtype())
                first = 0
                for chunk in column.chunks:
                    low, high = np.searchsorted(rows, (first, first + len(chunk)))
                    offsets = np.asarray(chunk.offsets)
                    data = chunk.values.to_numpy()
                    for place, row in zip(places[low:high], rows[low:high] - first, strict=True):
                        piece = data[offsets[row] : offsets[row + 1]]
                        values[bounds[place] : bounds[place + 1]] = piece
                    first += len(chunk)
        return (values if values is not None else np.zeros(0, np.uint32)), bounds


def make_pool(members: Sequence[Segment], keep: KeepRule) -> Pool:
    """Number all documents in the order of preference; reads lengths, and ids where they decide."""
    segments = Segments(members)
    priorities = _priorities(members, keep)
    keys: list[U64] = []
    counts: list[int] = []
    shingles: list[I32] = []
    dropped: list[I64] = []
    for number, member in enumerate(members):
        with segments.opened(number) as table:
            chars = np.minimum(table.column("chars").to_numpy(), _LONGEST).astype(np.uint64)
            length = chars if keep.length == "shortest" else np.uint64(_LONGEST) - chars
            keys.append(np.uint64(priorities[number] << _LENGTH_BITS) | length)
            many = np.minimum(table.column("num_shingles").to_numpy(), np.iinfo(np.int32).max)
            shingles.append(many.astype(np.int32))
        dropped.append(member.dropped + sum(counts))
        counts.append(len(keys[-1]))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if starts[-1] > np.iinfo(np.int32).max:
        raise DataError(
            f"{starts[-1]} documents are more than the 2,147,483,647 that are compared in one run; "
            "clean the corpus in portions, each with the earlier ones in clean.dedup.against"
        )
    row = _in_order(segments, starts, np.concatenate([np.zeros(0, np.uint64), *keys]))
    del keys
    rank = np.empty_like(row)
    rank[row] = np.arange(len(row), dtype=np.int32)
    reason = np.zeros(len(row), np.uint8)
    reason[rank[np.concatenate([np.zeros(0, np.int64), *dropped])]] = GONE
    kinds = np.array([member.kind for member in members])
    sizes = np.diff(starts)
    return Pool(
        segments=segments,
        starts=starts,
        rank=rank,
        row=row,
        num_shingles=np.concatenate([np.zeros(0, np.int32), *shingles])[row],
        reason=reason,
        twin=np.full(len(row), -1, np.int32),
        jaccard=np.full(len(row), np.nan, np.float32),
        num_held_out=int(sizes[kinds == HELD_OUT].sum()),
        num_fixed=int(sizes[kinds != CURRENT].sum()),
    )


def _priorities(members: Sequence[Segment], keep: KeepRule) -> list[int]:
    """A small number per segment: its kind, then the place of its source in the rule."""
    names = list(dict.fromkeys(member.source for member in members if member.kind == CURRENT))
    unknown = [name for name in keep.sources if name not in names]
    if unknown:
        raise ConfigError(
            f"clean.dedup.keep.sources names {unknown[0]!r}, which is no source; there are {names}"
        )
    place = {name: i for i, name in enumerate(keep.sources)}
    return [
        (member.kind << 24)
        | (place.get(member.source, len(place)) if member.kind == CURRENT else 0)
        for member in members
    ]


def _in_order(segments: Segments, starts: I64, keys: U64) -> I32:
    """Rows by ascending key; equal keys by order of sources, id, row."""
    row = np.argsort(keys, kind="stable")
    keys = keys[row]
    # Only rows whose key occurs again need their ids; they are looked at some runs at a time.
    heads = np.flatnonzero(np.diff(keys, prepend=~keys[:1]) != 0)
    ends = np.append(heads[1:], len(keys))
    tied = np.flatnonzero(ends - heads > 1)
    group = np.cumsum(ends[tied] - heads[tied]) // _ID_BATCH
    sources = list(dict.fromkeys(member.source for member in segments.members))
    source = np.array([sources.index(member.source) for member in segments.members])
    for some in np.split(tied, np.flatnonzero(np.diff(group)) + 1):
        if len(some):
            places = np.concatenate([np.arange(heads[i], ends[i]) for i in some])
            row[places] = _by_id(segments, starts, source, row[places], keys[places])
    return row.astype(np.int32)


def _by_id(segments: Segments, starts: I64, source: I64, rows: I64, keys: U64) -> I64:
    """The rows, those of one key by order of sources, id, row; `rows` ascend within a key."""
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], starts)
    names = []
    for segment in np.flatnonzero(np.diff(bounds)).tolist():
        wanted = rows[order[bounds[segment] : bounds[segment + 1]]] - starts[segment]
        with segments.opened(segment) as table:
            names.append(table.column("doc_id").take(number_array(wanted)).combine_chunks())
    segment_of = np.searchsorted(starts, rows[order], side="right") - 1
    table = pa.table(
        {
            "key": number_array(keys[order]),
            "source": number_array(source[segment_of]),
            "doc_id": pa.chunked_array(names),
            "row": number_array(rows[order]),
        }
    )
    sorting = [(name, "ascending") for name in table.column_names]
    result: I64 = table.column("row").take(pc.sort_indices(table, sort_keys=sorting)).to_numpy()
    return result
