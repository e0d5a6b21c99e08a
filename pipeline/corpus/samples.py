"""A few documents of every fate, chosen by a hash of their id: the same ones every time.

    pass 1 over measures: the smallest hashes per fate -> pass 2: their texts, read by row

Nothing is held but the chosen ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from pipeline.corpus.document import iter_batches
from pipeline.corpus.measured import MeasuredPart
from pipeline.corpus.rejects import DOCUMENTS, REJECTED


@dataclass(frozen=True)
class Sample:
    """One document, and what is on record about it."""

    fate: str
    doc_id: str
    source: str
    text: str
    record: dict[str, Any]
    """Its row of measures.parquet."""
    removal: dict[str, Any] | None = None
    """Its row of the removal list, when it left across parts."""


@dataclass(frozen=True, order=True)
class _Pick:
    hash: int
    index: int
    row: int


def sample_documents(
    parts: Sequence[MeasuredPart] | Iterable[MeasuredPart], *, per_fate: int, seed: int = 0
) -> dict[str, list[Sample]]:
    """Up to `per_fate` documents of each fate, KEPT included; parts of the same order, twice."""
    picks: dict[str, list[_Pick]] = defaultdict(list)
    for part in parts:
        for row, (doc_id, fate) in enumerate(zip(part.doc_ids, part.fates, strict=True)):
            pick = _Pick(xxhash.xxh3_64_intdigest(doc_id.encode(), seed), part.index, row)
            chosen = picks[fate]
            if len(chosen) < per_fate or pick < chosen[-1]:
                chosen.append(pick)
                chosen.sort()
                del chosen[per_fate:]
    wanted: dict[int, list[tuple[str, _Pick]]] = defaultdict(list)
    for fate, chosen in picks.items():
        for pick in chosen:
            wanted[pick.index].append((fate, pick))
    samples: dict[_Pick, Sample] = {}
    for part in parts:
        for pick, sample in _read(part, wanted.get(part.index, [])):
            samples[pick] = sample
    return {fate: [samples[pick] for pick in chosen] for fate, chosen in picks.items()}


def _read(part: MeasuredPart, wanted: list[tuple[str, _Pick]]) -> list[tuple[_Pick, Sample]]:
    if not wanted:
        return []
    removed = {row["row"]: row for row in part.removed.to_pylist()}
    number = np.where(part.passed, np.cumsum(part.passed), np.cumsum(~part.passed)) - 1
    found = []
    texts = {
        name: read_texts(
            part.path / name,
            [int(number[pick.row]) for _, pick in wanted if part.passed[pick.row] == passed],
        )
        for name, passed in ((DOCUMENTS, True), (REJECTED, False))
    }
    for fate, pick in wanted:
        passed = bool(part.passed[pick.row])
        row = int(number[pick.row])
        sample = Sample(
            fate,
            part.doc_ids[pick.row],
            part.sources[pick.row],
            texts[DOCUMENTS if passed else REJECTED][row],
            part.row(pick.row),
            removed.get(row) if passed else None,
        )
        found.append((pick, sample))
    return found


def read_texts(path: Path, rows: Sequence[int]) -> dict[int, str]:
    """The texts of some rows of an Arrow file of documents, by row; other rows are not decoded."""
    wanted = sorted(rows)
    found: dict[int, str] = {}
    start = 0
    if not wanted:
        return found
    for batch in iter_batches(path, ("text",)):
        for row in wanted:
            if start <= row < start + len(batch):
                found[row] = batch.table.column("text")[row - start].as_py()
        start += len(batch)
    return found
