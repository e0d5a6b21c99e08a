"""The held-out documents as the cleaning sees them: ids, content keys, 13-grams, signatures."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.corpus.dedup.keys import content_keys
from pipeline.corpus.dedup.minhash import U32, Shingles, shingles_of, signatures_of
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


@functools.lru_cache(maxsize=2)
def load_held_out(
    documents: Path,
    fingerprint: str,
    repair: RepairConfig,
    shingle_words: int,
    size: int,
    seed: int,
) -> HeldOut:
    """Index an EvalSet's `documents.arrow`; once per process and EvalSet `fingerprint`."""
    del fingerprint  # part of the cache's key: a path may come to hold another set
    batches = list(iter_batches(documents, columns=("doc_id", "text")))
    schema = pa.schema([("doc_id", pa.string()), ("text", pa.large_string())])
    table = pa.concat_tables([b.table.cast(schema) for b in batches]) if batches else None
    batch = TextBatch(table if table is not None else schema.empty_table())
    batch, _ = repair.apply(batch)
    words = words_of(batch)
    shingles = shingles_of(words, shingle_words=shingle_words)
    return HeldOut(
        doc_ids=tuple(batch.doc_ids),
        id_set=frozenset(batch.doc_ids),
        keys=frozenset(content_keys(batch.texts)),
        grams=HeldOutGrams.of(words),
        chars=batch.num_chars.astype(np.int64),
        shingles=shingles,
        signatures=signatures_of(shingles, size=size, seed=seed),
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
