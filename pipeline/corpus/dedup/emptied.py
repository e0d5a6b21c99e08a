"""Documents of which nothing is left once held-out text and repeated lines are cut: they leave."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.corpus.dedup.lines import REPEATED_LINE
from pipeline.corpus.dedup.overlapping import HELD_OUT_TEXT, Trimmed
from pipeline.corpus.dedup.pool import STAYS, Pool
from pipeline.corpus.dedup.removal import HELD_OUT_OVERLAP, REPEATED_LINES, number_of
from pipeline.corpus.document import iter_batches
from pipeline.corpus.rejects import DOCUMENTS


def drop_emptied(pool: Pool, trimmed: Sequence[Trimmed], paths: Sequence[Path], first: int) -> None:
    """Let them leave; segment `first + i` is the part at `paths[i]`.

    Lines alone never empty a document that stays (`lines` sees to it), so only the text of those
    that lose held-out text is looked at.
    """
    by_segment: dict[int, list[pa.Table]] = {}
    for one in trimmed:
        by_segment.setdefault(one.segment, []).append(one.cuts)
    for segment, tables in by_segment.items():
        cuts: dict[int, list[tuple[int, int]]] = {}
        reasons: dict[int, set[str]] = {}
        for cut in pa.concat_tables(tables).to_pylist():
            cuts.setdefault(cut["row"], []).append((cut["begin"], cut["end"]))
            reasons.setdefault(cut["row"], set()).add(cut["reason"])
        ranks = pool.ranks_of(segment)
        rows = [
            row
            for row in sorted(cuts)
            if HELD_OUT_TEXT in reasons[row] and pool.reason[ranks[row]] == STAYS
        ]
        for row in _emptied(paths[segment - first] / DOCUMENTS, rows, cuts):
            lines = REPEATED_LINE in reasons[row]
            reason = number_of(REPEATED_LINES if lines else HELD_OUT_OVERLAP)
            pool.remove(ranks[[row]], reason, np.array([-1]), np.nan)


def _emptied(path: Path, rows: list[int], cuts: dict[int, list[tuple[int, int]]]) -> list[int]:
    """Those of the ascending rows whose text shows nothing without its cuts."""
    found, waiting, start = [], iter(rows), 0
    row = next(waiting, None)
    for batch in iter_batches(path, ("text",)) if rows else ():
        stop = start + len(batch)
        while row is not None and row < stop:
            data = bytearray(batch.text_array[row - start].as_py().encode("utf-8"))
            for begin, end in cuts[row]:
                data[begin:end] = b" " * (end - begin)
            if not data.decode("utf-8").strip():
                found.append(row)
            row = next(waiting, None)
        start = stop
    return found
