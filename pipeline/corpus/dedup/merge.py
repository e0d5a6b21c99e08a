"""The one step that sees all parts: which of their documents leave again, one list per part.

signatures.arrow of each part + held-out documents -> removed-<i>.arrow, facts
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.corpus.cleaned import removed_name
from pipeline.corpus.dedup.comparison import load_comparison
from pipeline.corpus.dedup.held_out import HeldOut, share_seen
from pipeline.corpus.dedup.removal import decide_removals
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig
from pipeline.corpus.dedup.signatures import SIGNATURES


@dataclass(frozen=True)
class MergePart:
    """A cleaned part and where its text is from; parts come in the order of preference."""

    path: Path
    source: str


def merge_parts(
    parts: Sequence[MergePart],
    held_out: HeldOut,
    dedup: DedupConfig,
    decontamination: DecontaminationConfig,
    directory: Path,
) -> dict[str, Any]:
    """Write the removal list of each part into `directory`; returns facts for the manifest."""
    comparison = load_comparison([part.path / SIGNATURES for part in parts], held_out)
    removals = decide_removals(comparison, dedup, decontamination)
    removed = removals.tables(comparison)
    for i, table in enumerate(removed):
        with pa.ipc.new_file(str(directory / removed_name(i)), table.schema) as writer:
            writer.write_table(table)
    return {
        "deduplication": removals.facts,
        "decontamination": {
            "held_out_documents": len(held_out.doc_ids),
            "held_out_13grams": len(held_out.grams.grams),
            "share_seen_before": share_seen(held_out, comparison.parts, [None] * len(removed)),
            "share_seen_after": share_seen(held_out, comparison.parts, removed),
        },
    }
