"""Lines that occur again anywhere in the corpus are cut; the first in order of preference stays.

A line counts as seen only in documents that stay, so no line leaves with its first document while
its copies are cut elsewhere. Who stays depends on the documents preferred to it alone; the answer
is approached in rounds, from above and from below in turns, until it no longer changes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.cleaned import CUT_SCHEMA
from pipeline.corpus.dedup.overlapping import Trimmed
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.removal import REPEATED_LINES, number_of
from pipeline.corpus.dedup.segments import CURRENT, HELD_OUT, flat
from pipeline.corpus.dedup.settings import RepeatedLines
from pipeline.corpus.dedup.spill import Spill
from pipeline.corpus.words import I64

REPEATED_LINE = "repeated_line"
MAX_ROUNDS = 20
"""Two or three are usual; beyond this the lower bound counts: too few documents leave, no line."""
_LINE = np.dtype([("key", np.uint64), ("rank", np.int32), ("place", np.int32), ("size", np.int64)])
_CUT = np.dtype([("row", np.int32), ("place", np.int32)])
Bools = npt.NDArray[np.bool_]


def cut_repeated_lines(pool: Pool, config: RepeatedLines, scratch: Path) -> Iterator[Trimmed]:
    """Judge every line of the documents that stay; documents that lose too much leave."""
    lines = _spill_lines(pool, scratch)
    leaves = _who_leaves(pool, lines, config)
    gone = np.flatnonzero(leaves)
    pool.remove(gone, number_of(REPEATED_LINES), np.full(len(gone), -1), np.nan)
    cuts = Spill(scratch, "cuts", _CUT, len(pool))
    for partition in range(lines.partitions):
        records = lines.read(partition)
        wanted = _repeats(records, leaves) & ~leaves[records["rank"]]
        wanted &= records["rank"] >= pool.num_fixed
        found = np.empty(int(wanted.sum()), _CUT)
        found["row"] = pool.row[records["rank"][wanted]]
        found["place"] = records["place"][wanted]
        cuts.add(cuts.by_range(found["row"].astype(np.int64), len(pool)), found)
    for segment, places in _by_segment(pool, cuts):
        yield Trimmed(segment, _table(pool, segment, places))


def _spill_lines(pool: Pool, scratch: Path) -> Spill:
    """Every line of the documents that stay, by key, rank and place in its document."""
    spill = Spill(scratch, "lines", _LINE, sum(_count_lines(pool, s) for s in _sources(pool)))
    for segment in _sources(pool):
        ranks = pool.ranks_of(segment)
        with pool.segments.opened(segment) as table:
            first = 0
            keys, spans = table.column("lines"), table.column("line_spans")
            for chunk, span_chunk in zip(keys.chunks, spans.chunks, strict=True):
                here = ranks[first : first + len(chunk)]
                first += len(chunk)
                bounds = np.asarray(chunk.offsets)
                counts = np.diff(bounds)
                ends = span_chunk.flatten().to_numpy().reshape(-1, 2)
                records = np.empty(int(counts.sum()), _LINE)
                records["key"] = chunk.flatten().to_numpy()
                records["rank"] = np.repeat(here, counts)
                starts = np.repeat(bounds[:-1] - bounds[0], counts)
                records["place"] = np.arange(len(records)) - starts
                records["size"] = ends[:, 1] - ends[:, 0]
                records = records[np.repeat(pool.reason[here] == STAYS, counts)]
                spill.add(spill.by_range(records["key"], 1 << 64), records)
    spill.sort("key", "rank", "place")
    return spill


def _sources(pool: Pool) -> list[int]:
    """Segments whose lines count: all but held-out ones."""
    return [i for i, member in enumerate(pool.segments.members) if member.kind != HELD_OUT]


def _count_lines(pool: Pool, segment: int) -> int:
    with pool.segments.opened(segment) as table:
        return sum(len(chunk.values) for chunk in table.column("lines").chunks)


def _who_leaves(pool: Pool, lines: Spill, config: RepeatedLines) -> Bools:
    """(M,) by rank: who loses too much to documents that stay and are preferred."""
    limit = np.full(len(pool), np.iinfo(np.int64).max)
    visible = np.full(len(pool), np.iinfo(np.int32).max, np.int32)
    for segment, member in enumerate(pool.segments.members):
        if member.kind == CURRENT:
            ranks = pool.ranks_of(segment)
            with pool.segments.opened(segment) as table:
                limit[ranks] = np.floor(config.max_lost * table.column("bytes").to_numpy())
                visible[ranks] = table.column("visible_lines").to_numpy()
    leaves = np.zeros(len(pool), np.bool_)
    before = leaves
    for _ in range(MAX_ROUNDS):
        lost = np.zeros(len(pool), np.int64)
        repeated = np.zeros(len(pool), np.int32)
        for partition in range(lines.partitions):
            records = lines.look(partition)
            records = records[_repeats(records, leaves)]
            np.add.at(lost, records["rank"], records["size"])
            np.add.at(repeated, records["rank"], 1)
        now = (lost > limit) | ((repeated > 0) & (repeated >= visible))
        if np.array_equal(now, leaves):
            return leaves
        before, leaves = leaves, now
    return before & leaves


def _repeats(records: npt.NDArray[np.void], leaves: Bools) -> Bools:
    """Which lines were seen before: earlier in the document, or in a preferred one that stays."""
    key, rank = records["key"], records["rank"]
    if not len(records):
        return np.zeros(0, np.bool_)
    is_head = np.ones(len(key), np.bool_)
    is_head[1:] = key[1:] != key[:-1]
    heads = np.flatnonzero(is_head)
    nobody = np.iinfo(np.int32).max
    seen = np.minimum.reduceat(np.where(leaves[rank], nobody, rank), heads)
    in_document = ~is_head
    in_document[1:] &= rank[1:] == rank[:-1]
    return in_document | (np.repeat(seen, np.diff(np.append(heads, len(key)))) < rank)


def _by_segment(pool: Pool, cuts: Spill) -> Iterator[tuple[int, I64]]:
    """(segment, (C, 2) row in the segment and place of the line), segments ascending, sorted."""
    waiting = np.zeros((0, 2), np.int64)
    for partition in range(cuts.partitions):
        records = cuts.read(partition)
        found = np.stack([records["row"], records["place"]], axis=1).astype(np.int64)
        found = np.concatenate([waiting, found[np.lexsort((found[:, 1], found[:, 0]))]])
        segment = np.searchsorted(pool.starts, found[:, 0], side="right") - 1
        # The last segment may go on in the next partition.
        last = segment.max(initial=-1) if partition + 1 < cuts.partitions else -1
        waiting = found[segment == last]
        for number in np.unique(segment[segment != last]).tolist():
            yield number, found[segment == number] - [[pool.starts[number], 0]]


def _table(pool: Pool, segment: int, cuts: I64) -> pa.Table:
    """The cuts of one part in CUT_SCHEMA."""
    rows, counts = np.unique(cuts[:, 0], return_counts=True)
    with pool.segments.opened(segment) as table:
        some = table.select(["doc_id", "line_spans"]).take(pa.array(rows)).combine_chunks()
        spans = some.column("line_spans").combine_chunks()
        at = np.repeat(np.asarray(spans.offsets)[:-1], counts) + 2 * cuts[:, 1]
        values = flat(some.column("line_spans"))
        ids = some.column("doc_id").take(pa.array(np.repeat(np.arange(len(rows)), counts)))
        ids = ids.combine_chunks()
    unknown = pa.nulls(len(cuts), pa.string())
    columns = [
        pa.array(cuts[:, 0]), ids, pa.array(values[at]), pa.array(values[at + 1]),
        pa.array([REPEATED_LINE] * len(cuts), pa.string()), unknown, unknown,
    ]  # fmt: skip
    return pa.table(columns, schema=CUT_SCHEMA)
