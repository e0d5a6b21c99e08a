"""Which kept documents leave again when all parts are seen together, and because of which other.

    too much of it is held-out text  held_out_overlap
    too much of a held-out document  held_out_covered
    equal but for white space        exact_duplicate
    alike (LSH, then true Jaccard)   held_out_near_duplicate, near_duplicate

Documents are visited in the order of preference (held-out, longest, order of parts, id). One is
removed when it is a verified duplicate of one that stays, so a chain a~b~c loses only what
resembles a survivor: transitive closure once dissolved whole sources elsewhere.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.dedup import jaccard
from pipeline.corpus.dedup.comparison import Comparison
from pipeline.corpus.dedup.lsh import candidate_pairs
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig

HELD_OUT_OVERLAP = "held_out_overlap"
HELD_OUT_COVERED = "held_out_covered"
HELD_OUT_NEAR_DUPLICATE = "held_out_near_duplicate"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
REMOVED_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # in the part's documents.arrow
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string()),  # null without a twin
        pa.field("jaccard", pa.float64()),  # 1 for exact duplicates
        pa.field("overlap", pa.float64(), nullable=False),
        pa.field("covered", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
_ESTIMATE_MARGIN = 0.25  # five standard deviations of a 112-entry estimate


@dataclass(frozen=True)
class Removal:
    """Why one document of a Comparison leaves."""

    reason: str
    duplicate_of: int | None = None
    """Index in the Comparison."""
    jaccard: float | None = None


@dataclass(frozen=True)
class Removals:
    """Removals by index in the Comparison, and the counts of how they were found."""

    by_index: dict[int, Removal]
    facts: dict[str, int]

    def tables(self, comparison: Comparison) -> list[pa.Table]:
        """One table in REMOVED_SCHEMA per part, rows ascending."""
        rows: dict[int, list[tuple[object, ...]]] = defaultdict(list)
        for index, removal in self.by_index.items():
            twin = removal.duplicate_of
            rows[int(comparison.part[index])].append(
                (
                    int(comparison.row[index]),
                    comparison.doc_id[index],
                    removal.reason,
                    None if twin is None else comparison.doc_id[twin],
                    removal.jaccard,
                    float(comparison.overlap[index]),
                    float(comparison.covered[index]),
                    int(comparison.num_bytes[index]),
                )
            )
        return [_table(sorted(rows[part])) for part in range(len(comparison.parts))]


def decide_removals(
    comparison: Comparison, dedup: DedupConfig, decontamination: DecontaminationConfig
) -> Removals:
    """Decide for every document; depends on content and order of parts, nothing else."""
    removed: dict[int, Removal] = {}
    for index in np.flatnonzero(comparison.covered > decontamination.max_covered):
        removed[int(index)] = Removal(HELD_OUT_COVERED)
    for index in np.flatnonzero(comparison.overlap > decontamination.max_overlap):
        removed[int(index)] = Removal(HELD_OUT_OVERLAP)
    if dedup.exact:
        removed |= _exact_duplicates(comparison, removed)
    facts = {"candidate_pairs": 0, "similar_pairs": 0, "crowded_buckets": 0}
    if dedup.near or decontamination.near_duplicates:
        facts |= _near_duplicates(comparison, dedup, decontamination, removed)
    counts = Counter(removal.reason for removal in removed.values())
    return Removals(removed, dict(sorted(counts.items())) | facts)


def _exact_duplicates(comparison: Comparison, removed: dict[int, Removal]) -> dict[int, Removal]:
    """Of equal content keys the most preferred stays; removed and held-out ones are left out."""
    alive = ~comparison.is_held_out
    alive[list(removed)] = False
    rows = np.flatnonzero(alive)
    numbers = comparison.key.take(pa.array(rows)).dictionary_encode().indices.to_numpy()
    keeper: dict[int, int] = {}
    found = {}
    for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
        first = keeper.setdefault(number, row)
        if first != row:
            found[row] = Removal(EXACT_DUPLICATE, first, 1.0)
    return found


def _near_duplicates(
    comparison: Comparison,
    dedup: DedupConfig,
    decontamination: DecontaminationConfig,
    removed: dict[int, Removal],
) -> dict[str, int]:
    """Add the near-duplicates to `removed`; returns the counts of the search."""
    usable = comparison.num_shingles > 0
    usable[list(removed)] = False
    candidates = candidate_pairs(comparison.signatures, usable, bands=dedup.bands)
    pairs = candidates.pairs
    # The order of preference puts held-out documents first: the earlier of a pair decides its kind.
    from_held_out = comparison.is_held_out[pairs[:, 0]]
    wanted = np.where(from_held_out, decontamination.near_duplicates, dedup.near)
    pairs = pairs[wanted & ~comparison.is_held_out[pairs[:, 1]]]
    likely = jaccard.estimated(comparison.signatures, pairs) >= dedup.min_jaccard - _ESTIMATE_MARGIN
    pairs = pairs[likely]
    similarity = jaccard.exact(pairs, comparison.num_shingles, comparison.shingles)
    similar = similarity >= dedup.min_jaccard
    pairs, similarity = pairs[similar], similarity[similar]
    _keep_most_preferred(comparison, pairs, similarity, removed)
    return {
        "candidate_pairs": len(candidates.pairs),
        "similar_pairs": len(pairs),
        "crowded_buckets": candidates.crowded_buckets,
    }


def _keep_most_preferred(
    comparison: Comparison,
    pairs: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float64],
    removed: dict[int, Removal],
) -> None:
    """Visit later documents ascending; one alike a document that stays leaves."""
    earlier_of: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for (earlier, later), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
        earlier_of[later].append((earlier, value))
    is_held_out = comparison.is_held_out
    for later in sorted(earlier_of):
        stays = [(index, value) for index, value in earlier_of[later] if index not in removed]
        if stays:
            # Held-out first, then the most alike, then the most preferred.
            twin, value = min(stays, key=lambda s: (not is_held_out[s[0]], -s[1], s[0]))
            reason = HELD_OUT_NEAR_DUPLICATE if is_held_out[twin] else NEAR_DUPLICATE
            removed[later] = Removal(reason, twin, value)


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(REMOVED_SCHEMA)
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, REMOVED_SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=REMOVED_SCHEMA)
