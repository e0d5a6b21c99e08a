"""Lines that occur again anywhere in the corpus are cut; the first in order of preference stays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.cleaned import CUT_SCHEMA
from pipeline.corpus.dedup.overlapping import Trimmed
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.removal import REPEATED_LINES, number_of
from pipeline.corpus.dedup.segments import HELD_OUT, flat
from pipeline.corpus.dedup.settings import RepeatedLines
from pipeline.corpus.dedup.spill import Spill
from pipeline.corpus.words import I64

REPEATED_LINE = "repeated_line"
_LINE = np.dtype([("key", np.uint64), ("rank", np.int32), ("place", np.int32)])
_CUT = np.dtype([("row", np.int32), ("place", np.int32)])


def cut_repeated_lines(pool: Pool, config: RepeatedLines, scratch: Path) -> Iterator[Trimmed]:
    """Judge every line of the documents that stay; documents that lose too much leave."""
    spill = _spill_lines(pool, scratch)
    again = _Repeats(pool, scratch)
    for partition in range(spill.partitions):
        again.add(spill.read(partition))
    for segment, places in again.by_segment():
        trimmed = _judge(pool, segment, places, config)
        if trimmed is not None:
            yield trimmed


def _spill_lines(pool: Pool, scratch: Path) -> Spill:
    total = 0
    for segment, member in enumerate(pool.segments.members):
        if member.kind != HELD_OUT:
            with pool.segments.opened(segment) as table:
                total += sum(len(chunk.values) for chunk in table.column("lines").chunks)
    spill = Spill(scratch, "lines", _LINE, total)
    for segment, member in enumerate(pool.segments.members):
        if member.kind == HELD_OUT:
            continue
        ranks = pool.ranks_of(segment)
        with pool.segments.opened(segment) as table:
            first = 0
            for chunk in table.column("lines").chunks:
                here = ranks[first : first + len(chunk)]
                first += len(chunk)
                bounds = np.asarray(chunk.offsets)
                counts = np.diff(bounds)
                records = np.empty(int(counts.sum()), _LINE)
                records["key"] = chunk.flatten().to_numpy()
                records["rank"] = np.repeat(here, counts)
                starts = np.repeat(bounds[:-1] - bounds[0], counts)
                records["place"] = np.arange(len(records)) - starts
                records = records[np.repeat(pool.reason[here] == STAYS, counts)]
                spill.add(spill.by_range(records["key"], 1 << 64), records)
    return spill


class _Repeats:
    """The lines to cut as (row, place in its document), by range of rows."""

    def __init__(self, pool: Pool, scratch: Path) -> None:
        self.pool = pool
        self.spill = Spill(scratch, "repeats", _CUT, len(pool))

    def add(self, records: npt.NDArray[np.void]) -> None:
        order = np.lexsort((records["place"], records["rank"], records["key"]))
        records = records[order]
        again = np.zeros(len(records), np.bool_)
        again[1:] = records["key"][1:] == records["key"][:-1]
        again &= records["rank"] >= self.pool.num_fixed
        cuts = np.empty(int(again.sum()), _CUT)
        cuts["row"] = self.pool.row[records["rank"][again]]
        cuts["place"] = records["place"][again]
        partition = self.spill.by_range(cuts["row"].astype(np.int64), len(self.pool))
        self.spill.add(partition, cuts)

    def by_segment(self) -> Iterator[tuple[int, I64]]:
        """(segment, (C, 2) row in the segment and place), segments ascending, sorted."""
        waiting = np.zeros((0, 2), np.int64)
        starts = self.pool.starts
        for partition in range(self.spill.partitions):
            records = self.spill.read(partition)
            cuts = np.stack([records["row"], records["place"]], axis=1).astype(np.int64)
            cuts = np.concatenate([waiting, cuts[np.lexsort((cuts[:, 1], cuts[:, 0]))]])
            segment = np.searchsorted(starts, cuts[:, 0], side="right") - 1
            # The last segment may go on in the next partition.
            last = segment.max(initial=-1) if partition + 1 < self.spill.partitions else -1
            waiting = cuts[segment == last]
            for number in np.unique(segment[segment != last]).tolist():
                here = cuts[segment == number]
                yield number, here - [[starts[number], 0]]


def _judge(pool: Pool, segment: int, cuts: I64, config: RepeatedLines) -> Trimmed | None:
    """The cuts of one part, less those of documents that leave because of them."""
    rows, first, counts = np.unique(cuts[:, 0], return_index=True, return_counts=True)
    with pool.segments.opened(segment) as table:
        some = table.select(["doc_id", "bytes", "visible_lines", "line_spans"]).take(pa.array(rows))
        spans = some.column("line_spans").combine_chunks()
        begins = np.asarray(spans.offsets)[:-1]
        at = np.repeat(begins, counts) + 2 * cuts[:, 1]
        values = flat(some.column("line_spans")) if len(rows) else np.zeros(0, np.int64)
        ids = some.column("doc_id").take(pa.array(np.repeat(np.arange(len(rows)), counts)))
        ids = ids.combine_chunks()
        size = some.column("bytes").to_numpy()
        visible = some.column("visible_lines").to_numpy()
    begin, end = values[at], values[at + 1]
    lost = np.add.reduceat(end - begin, first) if len(rows) else np.zeros(0, np.int64)
    leaves = (lost > config.max_lost * size) | (counts >= visible)
    ranks = pool.ranks_of(segment)[rows[leaves]]
    pool.remove(ranks, number_of(REPEATED_LINES), np.full(len(ranks), -1), np.nan)
    stays = np.repeat(~leaves, counts)
    if not stays.any():
        return None
    count = int(stays.sum())
    columns = [
        pa.array(cuts[stays, 0]), ids.filter(pa.array(stays)), pa.array(begin[stays]),
        pa.array(end[stays]), pa.array([REPEATED_LINE] * count), pa.nulls(count, pa.string()),
        pa.nulls(count, pa.string()),
    ]  # fmt: skip
    return Trimmed(segment, pa.table(columns, schema=CUT_SCHEMA))
