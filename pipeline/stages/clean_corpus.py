"""Raw text in, the text worth training on out: repaired, filtered, deduplicated, decontaminated.

    sources -> raw parts -> (workers) cleaned parts -> compared across parts -> removal lists

The artifact holds no text: the cleaned parts do, `removed-<i>.arrow` says which of their rows left
again, and the manifest counts every document that was read, by what became of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.artifacts import CleanedCorpus, EvalSet
from pipeline.corpus.bias import GroupFile, shipped_groups
from pipeline.corpus.cleaned import cut_bytes_by_row, cuts_name, read_removed, removed_name
from pipeline.corpus.cleaning import PartConfig, PartJob, clean_part
from pipeline.corpus.dedup.earlier import earlier_corpora, raw_parts_of
from pipeline.corpus.dedup.held_out import HeldOutSet, held_out_sets
from pipeline.corpus.dedup.merge import MergePart, merge_parts
from pipeline.corpus.dedup.removal import (
    HELD_OUT_COVERED,
    HELD_OUT_NEAR_DUPLICATE,
    HELD_OUT_OVERLAP,
)
from pipeline.corpus.dedup.settings import DecontaminationConfig, DedupConfig
from pipeline.corpus.exclusions import Exclusions, exclude, read_exclusions
from pipeline.corpus.funnel import Funnel, tally_languages, tally_part
from pipeline.corpus.kernels.peer_words import AnyWords, OwnWords
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.mixing import MixingConfig, MixPart, PartDocuments, mix_parts
from pipeline.corpus.reading import WORKERS_LOAD, RawPart, read_sources
from pipeline.corpus.rejects import DOCUMENTS, languages_of_rows
from pipeline.corpus.repair import RepairConfig
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.corpus.sources import AnySource
from pipeline.corpus.steps import AnyStep, Rules, expanded
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import DataError
from pipeline.store.executor import run_jobs
from pipeline.store.fingerprint import short
from pipeline.store.manifest import read_manifest
from pipeline.store.runtime import Runtime

STAGE = "clean"
STAGE_VERSION = 3
LEAKED = (HELD_OUT_OVERLAP, HELD_OUT_COVERED, HELD_OUT_NEAR_DUPLICATE)
MUCH_LEAKED = 0.2  # guess; documentation that repeats itself heavily loses 0.06


class CleanConfig(BaseModel):
    """Where the text comes from and what it must be like to stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[AnySource, ...] = Field(
        min_length=1, title="Sources", description="Read in this order; earlier ones win ties."
    )
    repair: RepairConfig = Field(
        RepairConfig(), title="Unicode repair", description="First, and of held-out text too."
    )
    steps: tuple[AnyStep, ...] = Field(
        (Rules(), PersonalData()),
        title="Steps",
        description="Filters and rewrites in order. The first filter that objects gives the "
        "reason; all objections are kept.",
    )
    words: AnyWords = Field(
        OwnWords(),
        title="Words",
        description="own: our rules. spacy: spaCy's words, to compare decisions with other tools.",
    )
    dedup: DedupConfig = Field(DedupConfig(), title="Duplicates")
    decontamination: DecontaminationConfig = Field(
        DecontaminationConfig(), title="Held-out text in the training text"
    )
    mixing: MixingConfig = Field(
        MixingConfig(), title="Mixing", description="How often each source is used, and how much."
    )
    bias_groups: GroupFile | None = Field(
        default_factory=shipped_groups,
        title="Groups of terms",
        description="For each rule, how often it drops documents that mention a group is measured. "
        "A YAML file, or null to measure nothing.",
    )
    exclusions: str | None = Field(
        None, min_length=1, title="Excluded documents",
        description="A file of document ids that must not be trained on, one per line or JSON; "
        "null: exclusions.jsonl in the root, where there is one.",
    )  # fmt: skip
    seed: int = Field(0, ge=0, lt=1 << 63, title="Seed", description="Of the MinHash functions.")

    @model_validator(mode="after")
    def _names_are_sources(self) -> "CleanConfig":
        """What names a source that is not there is found before anything is read."""
        there = {source.name for source in self.sources}
        named = {
            "mixing.weights": self.mixing.weights,
            "mixing.shares": self.mixing.shares,
            "dedup.keep.sources": self.dedup.keep.sources,
        }
        for setting, names in named.items():
            unknown = sorted(set(names) - there)
            if unknown:
                raise ValueError(
                    f"{setting} names the source {unknown[0]!r}; there are "
                    f"{', '.join(sorted(there))}"
                )
        return self

    def identity(self) -> dict[str, object]:
        """What shapes the result beside text and lists, which enter by content."""
        settings: dict[str, object] = {"repair": self.repair, "seed": self.seed}
        settings |= {"dedup": self.dedup.identity()}
        settings |= {"decontamination": self.decontamination.identity()}
        settings |= {"bias_groups": self.bias_groups, "words": self.words}
        if not self.mixing.changes_nothing(self.source_weights()):
            settings |= {"mixing": self.mixing, "weights": self.source_weights()}
        # What a preset holds is identity, not its name: its constants may change.
        return {**settings, "steps": self.for_parts().steps}

    def source_weights(self) -> dict[str, float]:
        """The weight of each source, by name."""
        return {name: weight for name, weight in sorted((s.name, s.weight) for s in self.sources)}

    def for_parts(self) -> PartConfig:
        """The settings a part is cleaned with."""
        return PartConfig(
            repair=self.repair,
            steps=expanded(self.steps),
            bias_groups=self.bias_groups,
            words=self.words,
            signatures=self.dedup.for_parts(self.seed),
        )


def clean_corpus(
    config: CleanConfig, eval_set: EvalSet, *, root: Path, runtime: Runtime
) -> CleanedCorpus:
    """Clean every source; only parts whose input or settings changed are cleaned again.

    Raises DataError when nothing was read or nothing is left, with the leading reasons. With
    `dedup.known_parts: skip` only what no earlier corpus was made from is looked at, and a corpus
    of it may be empty: everything in the new files was known.
    """
    runtime = runtime.preloading(WORKERS_LOAD, at_once=not (root / STAGE).exists())
    raw_parts = read_sources(config.sources, root=root, runtime=runtime)
    earlier = earlier_corpora(config.dedup, root)
    if config.dedup.known_parts == "skip":
        raw_parts = _unknown(raw_parts, earlier)
    held_out = held_out_sets(eval_set, config.decontamination)
    exclusions = read_exclusions(root, config.exclusions)
    inputs = [f"read@{part.fingerprint}" for part in raw_parts]
    inputs += [held.key for held in held_out]
    inputs += [corpus.key for corpus in earlier]
    inputs += [exclusions.key] if exclusions else []
    key = artifact_key(STAGE, STAGE_VERSION, config.identity(), inputs)
    jobs = [_job(config, part, held_out, root, runtime) for part in raw_parts]
    directory = build(
        key,
        root / STAGE / short(key.fingerprint),
        lambda directory: _clean(
            _Work(config, raw_parts, jobs, earlier, exclusions, root, runtime), directory
        ),
        root=root,
        runtime=runtime,
    )
    return CleanedCorpus(directory, key.fingerprint)


def _unknown(raw_parts: Sequence[RawPart], earlier: Sequence[CleanedCorpus]) -> list[RawPart]:
    """The parts no earlier corpus was made from; DataError if there are none."""
    known = raw_parts_of(earlier)
    unknown = [part for part in raw_parts if part.path.name not in known]
    if not unknown:
        raise DataError(
            f"all {len(raw_parts)} parts of clean.sources are known to the earlier corpora in "
            "clean.dedup.against; there is nothing new to clean"
        )
    return unknown


@dataclass(frozen=True)
class _Work:
    config: CleanConfig
    raw_parts: Sequence[RawPart]
    jobs: Sequence[PartJob]
    earlier: Sequence[CleanedCorpus]
    exclusions: Exclusions
    root: Path
    runtime: Runtime


def _job(
    config: CleanConfig,
    part: RawPart,
    held_out: tuple[HeldOutSet, ...],
    root: Path,
    runtime: Runtime,
) -> PartJob:
    return PartJob(
        root=root,
        raw=part.path,
        raw_fingerprint=part.fingerprint,
        quarantined=int(read_manifest(part.path).facts["quarantined"]),
        held_out_sets=held_out,
        config=config.for_parts(),
        # The journal and the progress display stay in this process.
        runtime=Runtime(verify=runtime.verify, lock_wait_seconds=runtime.lock_wait_seconds),
    )


def _clean(work: _Work, directory: Path) -> Outcome:
    _clean_parts(work)
    parts = [
        MergePart(job.directory, raw.source)
        for job, raw in zip(work.jobs, work.raw_parts, strict=True)
    ]
    config = work.config
    merged = merge_parts(
        parts, work.jobs[0].held_out, config.dedup, config.decontamination, directory,
        seed=config.seed, earlier=work.earlier,
    )  # fmt: skip
    if work.exclusions:
        places = [part.path for part in parts], [part.source for part in parts]
        merged["exclusions"] = exclude(work.exclusions, *places, directory)
    funnel = Funnel()
    for i, part in enumerate(parts):
        removed = read_removed(directory, i)
        part_facts = read_manifest(part.path).facts
        tally = tally_part(part_facts, removed)
        languages = languages_of_rows(part.path, removed.column("row").to_numpy())
        by_language = tally_languages(part_facts, removed, languages)
        rows, lost = cut_bytes_by_row(directory, i)
        tally.bytes_kept -= int(lost.sum())
        for language, num_bytes in zip(languages_of_rows(part.path, rows), lost, strict=True):
            by_language[language or UNDETERMINED].bytes_kept -= int(num_bytes)
        funnel.add(part.source, tally)
        funnel.add_languages(by_language)
    _check(funnel, work.runtime, may_be_empty=config.dedup.known_parts == "skip")
    facts = {
        **funnel.facts(),
        **merged,
        **_mixed(work, parts, directory),
        "raw_parts": [part.path.relative_to(work.root).as_posix() for part in work.raw_parts],
    }
    work.runtime.journal.event("cleaned", facts)
    paths = tuple(part.path.relative_to(work.root).as_posix() for part in parts)
    return Outcome(facts=facts, parts=paths)


def _mixed(work: _Work, parts: Sequence[MergePart], directory: Path) -> dict[str, object]:
    """The accounts of mixing; nothing where every document is used once."""
    weights = work.config.source_weights()
    if work.config.mixing.changes_nothing(weights):
        return {}
    documents = [
        MixPart(
            part.source,
            PartDocuments(part.path / DOCUMENTS, directory / removed_name(i), _cuts(directory, i)),
        )
        for i, part in enumerate(parts)
    ]
    return {"mixing": mix_parts(documents, work.config.mixing, directory, source_weights=weights)}


def _cuts(directory: Path, index: int) -> Path | None:
    path = directory / cuts_name(index)
    return path if path.is_file() else None


def _clean_parts(work: _Work) -> None:
    """Every distinct part once, the largest first so that no worker is left alone with it."""
    distinct = {job.key.fingerprint: job for job in work.jobs}
    jobs = sorted(distinct.values(), key=lambda job: (-job.num_bytes, job.key.fingerprint))
    progress = work.runtime.progress
    run_jobs(
        work.runtime, clean_part, jobs,
        done=lambda done, total: progress.advance(done, total, "parts"),
    )  # fmt: skip


def _check(funnel: Funnel, runtime: Runtime, *, may_be_empty: bool) -> None:
    """DataError for an empty result; a warning for each source that contributes nothing."""
    total = funnel.total
    if may_be_empty and total.documents_kept == 0:
        return  # the night that asked says so
    if total.documents_read == 0:
        raise DataError(
            "the sources hold 0 documents; check clean.sources and the quarantine files"
        )
    if total.documents_kept == 0:
        raise DataError(
            f"all {total.documents_read} documents were dropped ({total.leading_reasons()}); "
            "loosen the named bounds in clean.steps, clean.dedup or clean.decontamination, "
            "hold out less (eval_set.max_bytes), or add sources"
        )
    leaked = sum(count for reason, count in total.dropped.items() if reason in LEAKED)
    if leaked > MUCH_LEAKED * total.documents_read:
        message = (
            f"{leaked} of {total.documents_read} documents were dropped for resembling held-out "
            f"text ({total.leading_reasons()}); if boilerplate is the cause, raise "
            "clean.decontamination.max_overlap and max_covered"
        )
        runtime.progress.event("warning", {"message": message})
    for source, tally in funnel.by_source.items():
        if tally.documents_kept == 0:
            message = (
                f"source {source!r} contributes nothing: all {tally.documents_read} documents "
                f"were dropped ({tally.leading_reasons()})"
            )
            runtime.progress.event("warning", {"source": source, "message": message})
