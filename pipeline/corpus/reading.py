"""Raw input into parts: every source's units, each parsed once, in parallel, and then only reused.

sources -> units -> (content hash + settings) -> root/parts/read/<fp12>/
                                                    documents.arrow, quarantine.jsonl, objects.arrow
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.stat_cache import StatCache
from pipeline.corpus.sources.unit import InputUnit
from pipeline.store.building import ArtifactKey, Outcome, artifact_key, build
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.executor import run_jobs
from pipeline.store.fingerprint import digest, short
from pipeline.store.manifest import VerifyMode, is_finished, read_manifest
from pipeline.store.runtime import Runtime

STAGE = "read"
STAGE_VERSION = 1


@dataclass(frozen=True)
class RawPart:
    """A finished part: documents as read, before any filter."""

    path: Path
    fingerprint: str
    source: str
    """Name of the source it was read from."""

    @property
    def documents_path(self) -> Path:
        """Arrow IPC file of DOCUMENT_SCHEMA."""
        return self.path / "documents.arrow"

    @property
    def quarantine_path(self) -> Path:
        """JSON lines `{file, position, reason, detail}`, one per bad record (10,000 per reason)."""
        return self.path / "quarantine.jsonl"

    @property
    def objects_path(self) -> Path | None:
        """Arrow IPC file of OBJECT_SCHEMA; None for sources that know no objects."""
        path = self.path / "objects.arrow"
        return path if path.is_file() else None


@dataclass(frozen=True)
class ReadJob:
    """What a worker needs to build one part."""

    source: AnySource
    unit: InputUnit
    key: ArtifactKey
    stamps: tuple[tuple[int, int], ...]
    """(size, mtime_ns) of the files when they were hashed."""
    root: Path
    verify: VerifyMode
    lock_wait_seconds: float

    @property
    def directory(self) -> Path:
        """Where the part lies."""
        return self.root / "parts" / STAGE / short(self.key.fingerprint)


def read_sources(sources: Sequence[AnySource], *, root: Path, runtime: Runtime) -> list[RawPart]:
    """The parts of all sources, in order; only what changed since the last call is parsed.

    Raises DataError for missing input, for a source with no document at all, and for one with more
    than `max_bad_fraction` bad records; ConfigError for two sources of one name.
    """
    _check_names(sources)
    jobs = [job for source in sources for job in _jobs(source, root=root, runtime=runtime)]
    missing = [job for job in jobs if not is_finished(job.directory)]
    if missing and not runtime.may_build:
        one = missing[0]
        build(one.key, one.directory, partial(_parse, one), root=root, runtime=runtime)  # NotBuilt
    # Two units of the same content are one part; large ones first, so that no worker ends late.
    distinct = list({job.key.fingerprint: job for job in missing}.values())
    distinct.sort(key=lambda job: -sum(size for size, _ in job.stamps))
    if distinct:
        reused = len(jobs) - len(missing)
        done = partial(_advance, runtime, reused, len(distinct) + reused)
        run_jobs(runtime, read_part, distinct, done=done)
    finished = {job.key.fingerprint for job in distinct}
    for job in jobs:
        if job.key.fingerprint not in finished:
            build(
                job.key, job.directory, partial(_parse, job), root=root, runtime=runtime, quiet=True
            )
    parts = [RawPart(job.directory, job.key.fingerprint, job.source.name) for job in jobs]
    for source in sources:
        _check_source(source, [part for part in parts if part.source == source.name], runtime)
    runtime.progress.event("read", {"parts": len(parts), "parsed": len(distinct)})
    return parts


def read_part(job: ReadJob) -> None:
    """Build one part; runs in a worker process."""
    runtime = Runtime(verify=job.verify, lock_wait_seconds=job.lock_wait_seconds)
    work = partial(_parse, job)
    build(job.key, job.directory, work, root=job.root, runtime=runtime, quiet=True)


def _parse(job: ReadJob, directory: Path) -> Outcome:
    with PartWriter(directory, source=job.source.name) as writer:
        job.source.parse(job.unit, writer)
        facts = writer.facts()
    for file, stamp in zip(job.unit.files, job.stamps, strict=True):
        if _stamp(file.path) != stamp:
            raise DataError(f"{file.path} changed while it was being read; run again when it rests")
    return Outcome(facts=facts)


def _jobs(source: AnySource, *, root: Path, runtime: Runtime) -> list[ReadJob]:
    units = source.units(root)
    cache = StatCache(root / "resolved" / f"stat-{short(digest([source.kind, source.name]))}.json")
    jobs = []
    for unit in units:
        stamps = tuple(_stamp(file.path) for file in unit.files)
        hashes = cache.sha256([file.path for file in unit.files])
        content = digest([[f.name, h] for f, h in zip(unit.files, hashes, strict=True)])
        config = {"source": source.identity(), "unit": unit.name}
        key = artifact_key(STAGE, STAGE_VERSION, config, [f"files@{content}"])
        jobs.append(
            ReadJob(source, unit, key, stamps, root, runtime.verify, runtime.lock_wait_seconds)
        )
    cache.save()
    return jobs


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from error
    return status.st_size, status.st_mtime_ns


def _advance(runtime: Runtime, reused: int, total: int, done: int, _of: int) -> None:
    runtime.progress.advance(reused + done, total, "parts")


def _check_names(sources: Sequence[AnySource]) -> None:
    names = [source.name for source in sources]
    if not names:
        raise ConfigError("sources is empty; name at least one source")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"two sources are named {repeated[0]!r}; give each its own name")


def _check_source(source: AnySource, parts: Sequence[RawPart], runtime: Runtime) -> None:
    """Refuse a source that is empty or mostly bad; report what was quarantined."""
    facts = {part: read_manifest(part.path).facts for part in parts}
    documents = sum(int(fact["documents"]) for fact in facts.values())
    bad = sum(int(fact["quarantined"]) for fact in facts.values())
    reasons: dict[str, int] = {}
    for fact in facts.values():
        for reason, count in fact["quarantine_reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + int(count)
    worst = max(parts, key=lambda part: int(facts[part]["quarantined"]))
    where = f"see {worst.quarantine_path}" if bad else "nothing was quarantined"
    told = "".join(f", {reason} {count}" for reason, count in sorted(reasons.items()))
    if documents == 0:
        raise DataError(
            f"source {source.name!r} holds no usable document ({bad} bad records{told}; {where}); "
            "check its paths and fields"
        )
    fraction = bad / (bad + documents)
    if fraction > source.max_bad_fraction:
        raise DataError(
            f"source {source.name!r}: {bad} of {bad + documents} records are bad ({fraction:.1%}"
            f"{told}), more than max_bad_fraction={source.max_bad_fraction:g}; {where}, repair the "
            "input or raise max_bad_fraction"
        )
    if bad:
        message = f"source {source.name!r}: {bad} bad records are in quarantine{told}; {where}"
        runtime.progress.event("warning", {"source": source.name, "message": message})
