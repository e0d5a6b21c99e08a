"""Groups of duplicates as both sides leave them, and how far they agree."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import orjson

from pipeline.store.errors import DataError

Partition = frozenset[frozenset[str]]
"""Groups of two or more document ids, no id in two of them."""


def peer_partition(out: Path) -> Partition:
    """The clusters that `peer_dedup.py --clusters` wrote."""
    groups: dict[int, set[str]] = defaultdict(set)
    files = [*sorted((out / "kept").glob("*.jsonl")), *sorted((out / "removed").glob("*.jsonl"))]
    if not files:
        raise DataError(f"{out} holds no output of the peer; see its log")
    for path in files:
        for line in path.open("rb"):
            row = orjson.loads(line)
            cluster = row["metadata"].get("minhash_cluster_id", -1)
            if cluster >= 0:
                groups[cluster].add(row["id"])
    return _partition(groups.values())


def own_partition(out: Path) -> Partition:
    """The groups that `own_dedup.py` wrote: the one that stays and those that left for it."""
    groups: dict[str, set[str]] = defaultdict(set)
    for removed, keeper in json.loads((out / "groups.json").read_text(encoding="utf-8")).items():
        groups[keeper] |= {keeper, removed}
    return _partition(groups.values())


def parity_partition(path: Path) -> Partition:
    """The clusters that `dedup_parity.py` wrote."""
    return _partition(json.loads(path.read_text(encoding="utf-8")))


def common_pairs(a: Partition, b: Partition) -> tuple[int, int, int]:
    """Pairs of documents of one group in `a`, in `b`, in both."""
    group_of = {doc_id: number for number, group in enumerate(b) for doc_id in group}
    both = 0
    for group in a:
        shared = Counter(group_of[doc_id] for doc_id in group if doc_id in group_of)
        both += sum(_pairs(count) for count in shared.values())
    return sum(_pairs(len(g)) for g in a), sum(_pairs(len(g)) for g in b), both


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _partition(groups: Iterable[Iterable[str]]) -> Partition:
    return frozenset(group for group in map(frozenset, groups) if len(group) > 1)
