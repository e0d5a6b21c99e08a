"""The held-out documents as the cleaning sees them: ids, content keys, 13-grams, signatures."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalSet
from pipeline.corpus.dedup.held_out_files import content_digest, held_out_paths, read_held_out
from pipeline.corpus.dedup.keys import content_keys_in
from pipeline.corpus.dedup.minhash import Hashes, Shingles, shingles_of, signatures_of
from pipeline.corpus.dedup.settings import DecontaminationConfig, HeldOutFiles, SignatureConfig
from pipeline.corpus.document import TextBatch, iter_batches
from pipeline.corpus.ngrams import HeldOutGrams
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.words import I64, words_of
from pipeline.store.errors import ConfigError, DataError

_SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.large_string())])


@dataclass(frozen=True)
class HeldOut:
    """E held-out documents, repaired like the training text so that equal means equal."""

    doc_ids: tuple[str, ...]
    set_names: tuple[str, ...]
    """(E,) which set each belongs to."""
    id_set: frozenset[str]
    """Ids that training documents must not have: those of the frozen eval set."""
    keys: frozenset[bytes]
    grams: HeldOutGrams
    chars: I64
    """(E,)"""
    shingles: Shingles
    signatures: Hashes
    """(E, size)"""


@dataclass(frozen=True)
class HeldOutSet:
    """One set of held-out documents, known by its content."""

    name: str
    key: str
    """`eval_set@<fingerprint>` or `held_out@<sha256>`: how it enters the identity of a part."""
    documents: Path | None = None
    """The frozen eval set's Arrow IPC file with `doc_id` and `text`."""
    files: HeldOutFiles | None = None
    """Or the user's files."""

    def read(self) -> pa.Table:
        """`doc_id` and `text`; DataError when the user's files changed since they were hashed."""
        if self.documents is not None:
            batches = iter_batches(self.documents, columns=_SCHEMA.names)
            tables = [batch.table.cast(_SCHEMA) for batch in batches]
            return pa.concat_tables([pa.Table.from_batches([], _SCHEMA), *tables])
        assert self.files is not None
        paths = held_out_paths(self.files)
        table = read_held_out(self.files, paths)
        if self.key != f"held_out@{content_digest(self.files, paths)}":
            raise DataError(
                f"the held-out files of {self.name} changed while the run was going on; run again"
            )
        return table


def held_out_sets(eval_set: EvalSet, config: DecontaminationConfig) -> tuple[HeldOutSet, ...]:
    """What the training text is kept free of: the frozen eval set, then the user's sets.

    ConfigError for files that are not there and for a name used twice.
    """
    taken = [one.name for one in config.against if one.name == eval_set.name]
    if taken:
        raise ConfigError(
            f"clean.decontamination.against: {taken[0]!r} is the name of the frozen eval set; give "
            "the held-out files another name"
        )
    frozen = HeldOutSet(eval_set.name, eval_set.key, documents=eval_set.documents_path)
    others = [
        HeldOutSet(one.name, f"held_out@{content_digest(one, held_out_paths(one))}", files=one)
        for one in config.against
    ]
    return (frozen, *others)


@functools.lru_cache(maxsize=2)
def load_held_out(
    sets: tuple[HeldOutSet, ...], repair: RepairConfig, signatures: SignatureConfig
) -> HeldOut:
    """Index the held-out documents; once per process and content (it is in the sets' keys)."""
    tables = [one.read() for one in sets]
    batch = TextBatch(
        pa.concat_tables(tables or [pa.Table.from_batches([], _SCHEMA)]).combine_chunks()
    )
    batch, _ = repair.apply(batch)
    words = words_of(batch)
    shingles = shingles_of(words, signatures)
    frozen = [one.documents is not None for one in sets]
    names = [
        one.name for one, table in zip(sets, tables, strict=True) for _ in range(table.num_rows)
    ]
    num_frozen = sum(
        table.num_rows for table, is_frozen in zip(tables, frozen, strict=True) if is_frozen
    )
    assert frozen == sorted(frozen, reverse=True)  # frozen ones first, so a prefix of the ids
    return HeldOut(
        doc_ids=tuple(batch.doc_ids),
        set_names=tuple(names),
        id_set=frozenset(batch.doc_ids[:num_frozen]),
        keys=frozenset(content_keys_in(batch.data, batch.offsets)),
        grams=HeldOutGrams.of(words),
        chars=words.code_points,
        shingles=shingles,
        signatures=signatures_of(shingles, signatures),
    )


def most_shared(held_out: HeldOut, grams: Sequence[int]) -> int | None:
    """The held-out document that owns most of the distinct 13-grams; None for no grams."""
    index = held_out.grams
    owners = [index.owners[index.owner_bounds[g] : index.owner_bounds[g + 1]] for g in grams]
    if not owners:
        return None
    return int(np.bincount(np.concatenate(owners)).argmax())
