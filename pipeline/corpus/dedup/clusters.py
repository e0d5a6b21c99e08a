"""Groups of duplicates for the report: who stays, and whom it stands for."""

from typing import Any

import numpy as np

from pipeline.corpus.dedup.pool import I32, Pool
from pipeline.corpus.dedup.removal import REASONS, follows_another
from pipeline.corpus.words import I64

LARGEST = 20
MEMBERS = 20
"""Members listed of one cluster; its size counts them all."""


def cluster_facts(pool: Pool, keepers: I32) -> dict[str, Any]:
    """Number of clusters and documents in them, sizes, the largest with members and keeper."""
    members = np.flatnonzero(follows_another(pool) & (keepers >= 0))
    keeper, sizes = np.unique(keepers[members], return_counts=True)
    order = np.lexsort((keeper, -sizes))[:LARGEST]
    return {
        "number": len(keeper),
        "documents": int(sizes.sum() + len(keeper)),
        "largest": [
            _describe(pool, int(keeper[i]), members[keepers[members] == keeper[i]]) for i in order
        ],
    }


def _describe(pool: Pool, keeper: int, members: I64) -> dict[str, Any]:
    listed = members[:MEMBERS]
    ids = pool.ids(np.concatenate([[keeper], listed]))
    facts: dict[str, Any] = {"keeper": ids[0], "size": len(members) + 1}
    if keeper < pool.num_fixed:
        (segment, _, _), *_ = pool.by_segment(np.array([keeper]))
        facts["keeper_in"] = pool.segments.members[segment].source
    similarity = pool.jaccard[listed].astype(np.float64)
    facts["members"] = [
        {
            "doc_id": doc_id,
            "reason": REASONS[pool.reason[rank]],
            "jaccard": None if np.isnan(value) else round(float(value), 4),
        }
        for doc_id, rank, value in zip(ids[1:], listed.tolist(), similarity, strict=True)
    ]
    return facts
