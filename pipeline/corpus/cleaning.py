"""One raw part becomes one cleaned part, in a worker process.

    raw documents.arrow
      - held out by id or content        -> counted
      > repaired                         -> counted by kind
      > rewritten, - rejected by steps   -> rejected.arrow, measures.parquet
      = documents.arrow + signatures.arrow (what the comparison across parts needs)

Nothing here looks at another part, so adding one file cleans one part.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from pipeline.corpus.bias import MENTIONS, GroupFile, mentions
from pipeline.corpus.chain import pass_through
from pipeline.corpus.dedup.held_out import HeldOut, HeldOutSet, load_held_out
from pipeline.corpus.dedup.keys import content_keys_in
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.dedup.signatures import SIGNATURES, signature_schema, signatures_table
from pipeline.corpus.document import CLEANED_SCHEMA, TextBatch, iter_batches
from pipeline.corpus.filters.judging import Columns, Verdicts
from pipeline.corpus.funnel import DROPPED
from pipeline.corpus.kernels.peer_words import AnyWords, OwnWords
from pipeline.corpus.kernels.tokens import words_by
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.rejects import (
    DOCUMENTS,
    MEASURES,
    REJECTED,
    REJECTED_SCHEMA,
    cleaned_table,
    count_reasons,
    measures_table,
    rejected_table,
    with_empty,
)
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.steps import AnyPlainStep
from pipeline.corpus.words import words_of
from pipeline.store.building import ArtifactKey, Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime

CLEAN_PART_VERSION = 2
PART_STAGE = "clean_part"
OVERLAP = "decontamination.overlap"
COVERED = "decontamination.covered"


class PartConfig(BaseModel):
    """The settings that shape a cleaned part; thresholds across parts are not among them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repair: RepairConfig
    steps: tuple[AnyPlainStep, ...]
    bias_groups: GroupFile | None = None
    words: AnyWords = OwnWords()
    signatures: SignatureConfig


@dataclass(frozen=True)
class PartJob:
    """Everything a worker needs to clean one part."""

    root: Path
    raw: Path
    raw_fingerprint: str
    quarantined: int
    held_out_sets: tuple[HeldOutSet, ...]
    config: PartConfig
    runtime: Runtime

    @property
    def key(self) -> ArtifactKey:
        """The identity of the cleaned part."""
        inputs = [f"read@{self.raw_fingerprint}", *(held.key for held in self.held_out_sets)]
        return artifact_key(PART_STAGE, CLEAN_PART_VERSION, self.config, inputs)

    @property
    def directory(self) -> Path:
        """Where the cleaned part lies below the root."""
        return self.root / "parts" / "clean" / short(self.key.fingerprint)

    @property
    def num_bytes(self) -> int:
        """Size of the raw documents: how long cleaning will take, relatively."""
        return (self.raw / DOCUMENTS).stat().st_size

    @property
    def held_out(self) -> HeldOut:
        """The held-out documents, indexed once per process."""
        return load_held_out(self.held_out_sets, self.config.repair, self.config.signatures)


def clean_part(job: PartJob) -> str:
    """Build the cleaned part, or verify the one that exists; returns its fingerprint."""
    key = job.key
    build(
        key,
        job.directory,
        lambda directory: _write_part(job, directory),
        root=job.root,
        runtime=job.runtime,
        quiet=True,
    )
    return key.fingerprint


@dataclass
class _Tally:
    read: int = 0
    bytes_read: int = 0
    held_out_id: int = 0
    held_out_content: int = 0
    kept: int = 0
    bytes_kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)
    by_language: dict[str, Counter[str]] = field(default_factory=dict)

    def add_language(
        self, languages: Sequence[str | None], sizes: Sequence[int], verdicts: Verdicts
    ) -> None:
        """Documents and bytes judged and kept, and first reasons, by language."""
        rows = zip(languages, sizes, verdicts.reasons, strict=True)
        for language, size, reason in rows:
            counts = self.by_language.setdefault(language or UNDETERMINED, Counter())
            counts.update({"documents_read": 1, "bytes_read": size})
            if reason:
                counts[DROPPED + reason] += 1
            else:
                counts.update({"documents_kept": 1, "bytes_kept": size})


def _write_part(job: PartJob, directory: Path) -> Outcome:
    tally = _Tally()
    schema = signature_schema(job.config.signatures)
    measures: list[pa.Table] = []
    with (
        pa.ipc.new_file(str(directory / DOCUMENTS), CLEANED_SCHEMA) as documents,
        pa.ipc.new_file(str(directory / REJECTED), REJECTED_SCHEMA) as rejected,
        pa.ipc.new_file(str(directory / SIGNATURES), schema) as signatures,
    ):
        for batch in iter_batches(job.raw / DOCUMENTS):
            with words_by(job.config.words.tokenise):
                cleaned = _clean_batch(batch, job, tally)
            measures.append(cleaned.measures)
            rejected.write_table(cleaned.rejected)
            if cleaned.kept.num_rows:
                documents.write_table(cleaned.kept)
                signatures.write_table(cleaned.signatures)
    if not measures:
        measures = [_clean_batch(TextBatch.of([]), job, _Tally()).measures]
    pq.write_table(pa.concat_tables(measures), directory / MEASURES, compression="zstd")
    return Outcome(facts=_facts(tally, job))


def _facts(tally: _Tally, job: PartJob) -> dict[str, object]:
    return {
        "documents_read": tally.read,
        "bytes_read": tally.bytes_read,
        "held_out": {"id": tally.held_out_id, "content": tally.held_out_content},
        "rejected": dict(sorted(tally.rejected.items())),
        "repaired": dict(sorted(tally.repaired.items())),
        "rewritten": dict(sorted(tally.rewritten.items())),
        "documents_kept": tally.kept,
        "bytes_kept": tally.bytes_kept,
        "by_language": {
            name: dict(sorted(counts.items())) for name, counts in sorted(tally.by_language.items())
        },
        "quarantined": job.quarantined,
    }


@dataclass(frozen=True)
class _CleanedBatch:
    kept: pa.Table
    rejected: pa.Table
    measures: pa.Table
    signatures: pa.Table


def _clean_batch(batch: TextBatch, job: PartJob, tally: _Tally) -> _CleanedBatch:
    config, held_out = job.config, job.held_out
    tally.read += len(batch)
    tally.bytes_read += int(batch.num_bytes.sum())

    is_free = np.array([doc_id not in held_out.id_set for doc_id in batch.doc_ids], np.bool_)
    tally.held_out_id += int((~is_free).sum())
    batch, repaired = config.repair.apply(batch if is_free.all() else batch.filtered(is_free))
    tally.repaired.update(repaired)

    keys = content_keys_in(batch.data, batch.offsets)
    is_free = np.array([key not in held_out.keys for key in keys], np.bool_)
    tally.held_out_content += int((~is_free).sum())
    if not is_free.all():
        batch = batch.filtered(is_free)
        keys = [key for key, free in zip(keys, is_free, strict=True) if free]

    passed = pass_through(config.steps, batch)
    tally.rewritten.update(passed.rewritten)
    if passed.batch is not batch:
        after = passed.batch  # duplicates are equal as they will be trained on
        keys = content_keys_in(after.data, after.offsets)
    batch = passed.batch
    words = words_of(batch)
    overlap = held_out.grams.overlap(words)
    verdicts = with_empty(passed.verdicts, words.visible == 0)
    tally.rejected.update(count_reasons(verdicts))

    keep = verdicts.keep
    tally.kept += int(keep.sum())
    tally.bytes_kept += int(batch.num_bytes[keep].sum())
    tally.add_language(passed.languages, batch.num_bytes.tolist(), verdicts)
    extra: Columns = {OVERLAP: overlap.share, COVERED: overlap.covered}
    if config.bias_groups is not None:
        found = mentions(batch, config.bias_groups)
        extra |= {MENTIONS + group: values for group, values in found.items()}
    return _CleanedBatch(
        kept=cleaned_table(batch, passed.languages, keep),
        rejected=rejected_table(batch, passed.languages, verdicts),
        measures=measures_table(
            batch, passed.languages, verdicts, passed.columns | extra, passed.applied
        ),
        signatures=signatures_table(batch, keep, keys, overlap, config.signatures),
    )
