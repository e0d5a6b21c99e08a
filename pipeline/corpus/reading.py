"""Raw input into parts: every source's units, each parsed once, in parallel, and then only reused.

sources -> units -> (content hash + settings) -> root/parts/read/<fp12>/
                                                    documents.arrow, quarantine.jsonl, objects.arrow
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.corpus_ids import check_corpus_ids
from pipeline.corpus.sources.inputs import InputUnit
from pipeline.corpus.sources.jobs import ReadJob, jobs_of, stamp_of
from pipeline.corpus.sources.part import PartWriter
from pipeline.store.building import Outcome, build
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.executor import run_jobs
from pipeline.store.manifest import is_finished, read_manifest
from pipeline.store.runtime import Runtime

WORKERS_LOAD = "pipeline.corpus.forked"
"""The module that readers of sources who clean afterwards let their workers find loaded."""
ATTEMPTS = 3  # at reading files that change meanwhile; the last one quarantines them


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


def read_sources(sources: Sequence[AnySource], *, root: Path, runtime: Runtime) -> list[RawPart]:
    """The parts of all sources, in order; only what changed since the last call is parsed.

    Raises DataError for missing input, for a source with no document at all, for one with more
    than `max_bad_fraction` bad records, and for an id that is not as unique as its source says;
    ConfigError for two sources of one name.
    """
    _check_names(sources)
    unsteady: frozenset[str] = frozenset()
    num_parsed = 0
    for attempt in range(ATTEMPTS):
        jobs = [
            job
            for source in sources
            for job in jobs_of(source, root=root, runtime=runtime, unsteady=unsteady)
        ]
        parsed, changed = _parse_missing(jobs, root=root, runtime=runtime)
        num_parsed += parsed
        if not changed:
            break
        if attempt == ATTEMPTS - 2:
            unsteady = frozenset(changed)
    else:
        raise DataError(f"{changed[0]} changed while it was being read; run again when it rests")
    parts = [RawPart(job.directory, job.key.fingerprint, job.source.name) for job in jobs]
    for source in sources:
        _check_source(source, [part for part in parts if part.source == source.name], runtime)
    check_corpus_ids(sources, parts, root=root)
    runtime.progress.event("read", {"parts": len(parts), "parsed": num_parsed})
    return parts


def _parse_missing(
    jobs: Sequence[ReadJob], *, root: Path, runtime: Runtime
) -> tuple[int, list[str]]:
    """(parts parsed, paths of files that changed meanwhile); the other parts are verified."""
    missing = [job for job in jobs if not is_finished(job.directory)]
    if missing and not runtime.may_build:
        one = missing[0]
        build(one.key, one.directory, partial(_parse, one), root=root, runtime=runtime)  # NotBuilt
    # Two units of the same content are one part; large ones first, so that no worker ends late.
    distinct = list({job.key.fingerprint: job for job in missing}.values())
    distinct.sort(key=lambda job: -job.num_bytes)
    changed: list[str] = []
    if distinct:
        reused = len(jobs) - len(missing)
        done = partial(_advance, runtime, reused, len(distinct) + reused)
        for paths in run_jobs(runtime, read_part, distinct, done=done):
            changed += paths
    if changed:
        return len(distinct), sorted(set(changed))
    fresh = {job.key.fingerprint for job in distinct}
    for job in jobs:
        if job.key.fingerprint not in fresh:
            build(
                job.key, job.directory, partial(_parse, job), root=root, runtime=runtime, quiet=True
            )
    return len(distinct), []


def read_part(job: ReadJob) -> list[str]:
    """Build one part; runs in a worker process. Returns the files that changed meanwhile."""
    runtime = Runtime(verify=job.verify, lock_wait_seconds=job.lock_wait_seconds)
    work = partial(_parse, job)
    try:
        build(job.key, job.directory, work, root=job.root, runtime=runtime, quiet=True)
    except _Changed as error:
        return error.paths
    return []


class _Changed(Exception):
    """Files are not what they were when they were hashed."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(", ".join(paths))
        self.paths = paths


def _parse(job: ReadJob, directory: Path) -> Outcome:
    usable = tuple(file for file in job.unit.files if file.name not in job.troubles)
    with PartWriter(directory, source=job.source.name) as writer:
        for name, trouble in job.troubles.items():
            writer.quarantine(name, "file", trouble.reason, trouble.detail)
        if usable:
            try:
                job.source.parse(InputUnit(job.unit.name, usable), writer)
            except OSError as error:
                if changed := _changed(job):
                    raise _Changed(changed) from error
                raise
        facts = writer.facts()
    if changed := _changed(job):
        raise _Changed(changed)
    return Outcome(facts=facts)


def _changed(job: ReadJob) -> list[str]:
    changed = []
    for file, stamp in zip(job.unit.files, job.stamps, strict=True):
        if file.name in job.troubles:
            continue
        try:
            same = stamp_of(file) == stamp
        except OSError:
            same = False
        if not same:
            changed.append(file.path)
    return changed


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
    facts: dict[RawPart, dict[str, Any]] = {p: dict(read_manifest(p.path).facts) for p in parts}
    documents = sum(int(fact["documents"]) for fact in facts.values())
    bad = sum(int(fact["quarantined"]) for fact in facts.values())
    reasons: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for fact in facts.values():
        reasons.update(fact["quarantine_reasons"])
        skipped.update(fact["skipped"])
    worst = max(parts, key=lambda part: int(facts[part]["quarantined"]))
    where = f"see {worst.quarantine_path}" if bad else "nothing was quarantined"
    told = _told(reasons)
    if documents == 0:
        left_out = f"; left out{_told(skipped)[1:]}" if skipped else ""
        left_out += _first_fault(worst)
        raise DataError(
            f"source {source.name!r} holds no usable document ({bad} bad records{told}; {where}"
            f"{left_out}); check its paths and fields"
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


def _first_fault(part: RawPart) -> str:
    with open(part.quarantine_path, encoding="utf-8") as lines:
        line = lines.readline()
    if not line:
        return ""
    fault = json.loads(line)
    return f"; the first: {fault['file']}, {fault['position']}: {fault['detail'][:200]}"


def _told(counts: Counter[str]) -> str:
    return "".join(f", {reason} {count}" for reason, count in sorted(counts.items()))
