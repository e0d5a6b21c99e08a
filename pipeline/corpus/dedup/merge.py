"""The one step that sees all parts: which of their documents leave again, and what is cut.

signatures.arrow of each part, of earlier corpora, held-out documents
    -> removed-<i>.arrow, cuts-<i>.arrow (where there are cuts), facts

Nothing is held per document but 26 bytes and what one partition needs: keys, pairs and lines go
through sorted partitions on disk. The result depends on content and order of the parts alone.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.arrow_arrays import number_array
from pipeline.corpus.cleaned import CUT_SCHEMA, cut_bytes, cuts_name, removed_name
from pipeline.corpus.dedup import removal
from pipeline.corpus.dedup.clusters import cluster_facts
from pipeline.corpus.dedup.earlier import earlier_segments
from pipeline.corpus.dedup.emptied import drop_emptied
from pipeline.corpus.dedup.exact import remove_copies
from pipeline.corpus.dedup.held_out import HeldOut
from pipeline.corpus.dedup.lines import cut_repeated_lines
from pipeline.corpus.dedup.near import remove_near_duplicates
from pipeline.corpus.dedup.overlapping import HELD_OUT_TEXT, Trimmed, judge_overlap
from pipeline.corpus.dedup.pool import Pool, make_pool
from pipeline.corpus.dedup.removal import number_of
from pipeline.corpus.dedup.segments import CURRENT, HELD_OUT, Segment
from pipeline.corpus.dedup.settings import (
    MIN_GUARDED_DOCUMENTS,
    DecontaminationConfig,
    DedupConfig,
)
from pipeline.corpus.dedup.signatures import SIGNATURES, held_out_table
from pipeline.store.errors import DataError


@dataclass(frozen=True)
class MergePart:
    """A cleaned part and where its text is from."""

    path: Path
    source: str


def merge_parts(
    parts: Sequence[MergePart],
    held_out: HeldOut,
    dedup: DedupConfig,
    decontamination: DecontaminationConfig,
    directory: Path,
    *,
    seed: int = 0,
    earlier: Sequence[CleanedCorpus] = (),
) -> dict[str, Any]:
    """Write the removal list and the cuts of each part into `directory`; returns facts.

    Raises DataError when a source would lose too much to near-duplicates, ConfigError when
    `earlier` corpora cannot be compared.
    """
    wanted = dedup.for_parts(seed)
    frozen = [
        Segment(HELD_OUT, name, table=table) for name, table in held_out_table(held_out, wanted)
    ]
    known = earlier_segments(earlier, [part.path for part in parts], wanted)
    current = [Segment(CURRENT, part.source, path=part.path / SIGNATURES) for part in parts]
    pool = make_pool([*frozen, *known, *current], dedup.keep)
    first = len(frozen) + len(known)
    with tempfile.TemporaryDirectory(prefix="merge.tmp-", dir=directory) as scratch:
        seen_before = _share_seen(pool, held_out, first)
        trimmed = judge_overlap(pool, held_out, decontamination)
        search = _find_duplicates(pool, dedup, decontamination, Path(scratch))
        _guard(pool, dedup)
        if dedup.lines is not None:
            trimmed += cut_repeated_lines(pool, dedup.lines, Path(scratch))
        drop_emptied(pool, trimmed, [part.path for part in parts], first)
    keepers = removal.keepers_of(pool)
    for index in range(len(parts)):
        table = removal.removed_table(pool, first + index, keepers)
        removal.write_table(directory / removed_name(index), table)
    cuts = _write_cuts(pool, trimmed, first, directory)
    counts = Counter(pool.reason[pool.num_fixed :].tolist())
    reasons = {removal.REASONS[number]: count for number, count in counts.items() if number}
    return {
        "deduplication": dict(sorted(reasons.items())) | search | cuts,
        "clusters": cluster_facts(pool, keepers),
        "decontamination": {
            "held_out_documents": len(held_out.doc_ids),
            "held_out_13grams": len(held_out.grams.grams),
            "held_out_sets": dict(Counter(held_out.set_names)),
            "share_seen_before": seen_before,
            "share_seen_after": _share_seen(pool, held_out, first, trimmed),
        },
    }


def _find_duplicates(
    pool: Pool, dedup: DedupConfig, decontamination: DecontaminationConfig, scratch: Path
) -> dict[str, int]:
    if dedup.exact:
        reason = number_of(removal.EXACT_DUPLICATE)
        remove_copies(pool, "key", reason, scratch, jaccard=1.0)
    if dedup.url:
        reason = number_of(removal.DUPLICATE_URL)
        remove_copies(pool, "url_key", reason, scratch, jaccard=np.nan)
    if not (dedup.near or decontamination.near_duplicates):
        return {"candidate_pairs": 0, "compared_pairs": 0, "crowded_buckets": 0}
    return remove_near_duplicates(
        pool,
        dedup,
        decontamination,
        held_out_reason=number_of(removal.HELD_OUT_NEAR_DUPLICATE),
        near_reason=number_of(removal.NEAR_DUPLICATE),
        scratch=scratch,
    )


def _guard(pool: Pool, dedup: DedupConfig) -> None:
    """Stop before near-duplicates wipe out a source."""
    documents: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    near = number_of(removal.NEAR_DUPLICATE)
    for segment, member in enumerate(pool.segments.members):
        if member.kind == CURRENT:
            ranks = pool.ranks_of(segment)
            documents[member.source] += len(ranks)
            # What an earlier corpus holds is meant to leave, however much it is.
            here = (pool.reason[ranks] == near) & (pool.twin[ranks] >= pool.num_fixed)
            lost[member.source] += int(here.sum())
    for source, count in documents.items():
        if count >= MIN_GUARDED_DOCUMENTS and lost[source] > dedup.max_source_loss * count:
            raise DataError(
                f"source {source!r} would lose {lost[source]} of {count} documents "
                f"({lost[source] / count:.1%}) to near-duplicates, more than "
                f"clean.dedup.max_source_loss={dedup.max_source_loss:g}; if its documents share a "
                "template, raise min_jaccard or shingle_words, cut the template "
                "(clean.dedup.lines) or leave the source out; if they are copies, allow it with "
                "max_source_loss: 1"
            )


def _write_cuts(
    pool: Pool, trimmed: Sequence[Trimmed], first: int, directory: Path
) -> dict[str, int]:
    """One list of cuts per part that has any, of the documents that stay; returns counts."""
    by_segment: dict[int, list[pa.Table]] = {}
    for one in trimmed:
        stays = pool.reason[pool.ranks_of(one.segment)[one.cuts.column("row").to_numpy()]] == 0
        by_segment.setdefault(one.segment, []).append(one.cuts.filter(number_array(stays)))
    documents = num_bytes = 0
    for segment, tables in sorted(by_segment.items()):
        table = pa.concat_tables(tables).sort_by([("row", "ascending"), ("begin", "ascending")])
        if table.num_rows:
            removal.write_table(
                directory / cuts_name(segment - first), table.cast(CUT_SCHEMA).combine_chunks()
            )
            documents += len(table.column("row").unique())
            num_bytes += cut_bytes(directory, segment - first)
    return {"trimmed_documents": documents, "trimmed_bytes": num_bytes}


def _share_seen(
    pool: Pool, held_out: HeldOut, first: int, trimmed: Sequence[Trimmed] = ()
) -> float:
    """Share of the held-out 13-gram occurrences that the parts' documents that stay contain."""
    seen = np.zeros(len(held_out.grams.grams), np.bool_)
    cut: dict[int, list[Any]] = {}
    for one in trimmed:
        rows = one.cuts.filter(pc.field("reason") == HELD_OUT_TEXT).column("row").to_numpy()
        cut.setdefault(one.segment, []).append(rows)
    for segment in range(first, len(pool.segments)):
        keep = pool.reason[pool.ranks_of(segment)] == 0
        for rows in cut.get(segment, ()):
            keep[rows] = False
        with pool.segments.opened(segment) as table:
            for chunk in table.column("held_out_grams").filter(number_array(keep)).chunks:
                seen[chunk.flatten().to_numpy()] = True
    total = int(held_out.grams.occurrences.sum())
    return float(held_out.grams.occurrences[seen].sum() / max(total, 1))
