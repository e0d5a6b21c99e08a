"""The held-out documents as the cleaning sees them: ids, content keys, 13-grams, signatures."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalSet
from pipeline.corpus.dedup.keys import content_keys
from pipeline.corpus.dedup.minhash import U32, Shingles, shingles_of, signatures_of
from pipeline.corpus.dedup.settings import DecontaminationConfig, SignatureConfig
from pipeline.corpus.document import TextBatch, iter_batches
from pipeline.corpus.ngrams import HeldOutGrams
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.words import I64, words_of


@dataclass(frozen=True)
class HeldOut:
    """E held-out documents, repaired like the training text so that equal means equal."""

    doc_ids: tuple[str, ...]
    id_set: frozenset[str]
    keys: frozenset[bytes]
    grams: HeldOutGrams
    chars: I64
    """(E,)"""
    shingles: Shingles
    signatures: U32
    """(E, size)"""


@dataclass(frozen=True)
class HeldOutSet:
    """One set of held-out documents, known by its content."""

    name: str
    path: Path
    """Arrow IPC file with `doc_id` and `text`."""
    key: str
    """`eval_set@<fingerprint>`: how it enters the identity of a part."""


def held_out_sets(eval_set: EvalSet, config: DecontaminationConfig) -> tuple[HeldOutSet, ...]:
    """What the training text is kept free of: the frozen eval set."""
    del config
    return (HeldOutSet(eval_set.name, eval_set.documents_path, eval_set.key),)


@functools.lru_cache(maxsize=2)
def load_held_out(
    sets: tuple[HeldOutSet, ...], repair: RepairConfig, signatures: SignatureConfig
) -> HeldOut:
    """Index the held-out documents; once per process and content (it is in the sets' keys)."""
    batches = [b for one in sets for b in iter_batches(one.path, columns=("doc_id", "text"))]
    schema = pa.schema([("doc_id", pa.string()), ("text", pa.large_string())])
    table = pa.concat_tables([b.table.cast(schema) for b in batches]) if batches else None
    batch = TextBatch(table if table is not None else schema.empty_table())
    batch, _ = repair.apply(batch)
    words = words_of(batch)
    shingles = shingles_of(words, shingle_words=signatures.shingle_words)
    return HeldOut(
        doc_ids=tuple(batch.doc_ids),
        id_set=frozenset(batch.doc_ids),
        keys=frozenset(content_keys(batch.texts)),
        grams=HeldOutGrams.of(words),
        chars=batch.num_chars.astype(np.int64),
        shingles=shingles,
        signatures=signatures_of(shingles, size=signatures.size, seed=signatures.seed),
    )


def share_seen(
    held_out: HeldOut, parts: Sequence[pa.Table], removed: Sequence[pa.Table | None]
) -> float:
    """Share of the held-out 13-gram occurrences that the parts' documents contain.

    `parts` are tables with `held_out_grams`; `removed` lists with `row` what to leave out of each.
    """
    seen = np.zeros(len(held_out.grams.grams), np.bool_)
    for part, gone in zip(parts, removed, strict=True):
        keep = np.ones(part.num_rows, np.bool_)
        if gone is not None:
            keep[gone.column("row").to_numpy()] = False
        for chunk in part.column("held_out_grams").filter(pa.array(keep)).chunks:
            seen[chunk.flatten().to_numpy()] = True
    total = int(held_out.grams.occurrences.sum())
    return float(held_out.grams.occurrences[seen].sum() / max(total, 1))
