"""From sources to jobs: units cut into pieces, each known by its content.

    source.units -> pieces of large files -> content hash or checksum + settings -> ReadJob

A file that cannot be read is no reason to stop: its job quarantines it, and is another job as soon
as the file can be read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.file_source import FileSource, open_input
from pipeline.corpus.sources.inputs import InputFile, InputUnit, Piece
from pipeline.corpus.sources.remote import describe_remote
from pipeline.corpus.sources.stat_cache import StatCache
from pipeline.store.building import ArtifactKey, artifact_key
from pipeline.store.fingerprint import digest, short
from pipeline.store.manifest import VerifyMode
from pipeline.store.runtime import Runtime

STAGE = "read"
STAGE_VERSION = 2
HASH_BYTES = 1 << 20
MAX_HASHING_THREADS = 8
MAX_HANDFUL = 64  # files looked at by one task: a file that rests costs less than a task


@dataclass(frozen=True)
class Trouble:
    """Why a file is not read."""

    reason: str
    detail: str


@dataclass(frozen=True)
class ReadJob:
    """What a worker needs to build one part."""

    source: AnySource
    unit: InputUnit
    key: ArtifactKey
    stamps: tuple[str, ...]
    """What told that each file is as it was when it was hashed."""
    root: Path
    verify: VerifyMode
    lock_wait_seconds: float
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    """By name of the file."""

    @property
    def directory(self) -> Path:
        """Where the part lies."""
        return self.root / "parts" / STAGE / short(self.key.fingerprint)

    @property
    def num_bytes(self) -> int:
        """Bytes to read, as far as they are known."""
        return sum(file.known_bytes for file in self.unit.files)


def jobs_of(
    source: AnySource, *, root: Path, runtime: Runtime, unsteady: frozenset[str] = frozenset()
) -> list[ReadJob]:
    """The jobs of one source, in order. Files whose path is in `unsteady` are quarantined.

    Raises DataError when a path does not exist or nothing matches.
    """
    cache = _cache(source, root)
    units = source.units(root)
    files = [file for unit in units for file in unit.files]
    threads = max(1, min(MAX_HASHING_THREADS, runtime.workers))
    size = max(1, min(MAX_HANDFUL, len(files) // (8 * threads)))
    handfuls = [files[i : i + size] for i in range(0, len(files), size)]
    known: dict[tuple[str, str], _Inspected] = {}
    with ThreadPoolExecutor(threads) as pool:  # hashing and reading release the GIL
        looks = pool.map(
            lambda some: [_inspected(source, file, cache, unsteady) for file in some], handfuls
        )
        for some, found in zip(handfuls, looks, strict=True):
            known.update(((f.path, f.name), one) for f, one in zip(some, found, strict=True))
    cache.save()
    jobs = []
    for unit in units:
        looked_at = [known[file.path, file.name] for file in unit.files]
        for piece in _cut(unit, looked_at):
            jobs.append(_job(source, piece, root, runtime))
    return jobs


def contents_of(
    source: FileSource, *, root: Path, runtime: Runtime
) -> list[tuple[InputFile, str | None]]:
    """Every file of a source with what stands for its content; None for one that is unreadable."""
    cache = _cache(source, root)
    threads = max(1, min(MAX_HASHING_THREADS, runtime.workers))
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda file: (file, _content(file, cache)), source.found()))
    cache.save()
    return found


def _content(file: InputFile, cache: StatCache) -> str | None:
    try:
        return _identity(file, cache)
    except OSError:
        return None


def _cache(source: Any, root: Path) -> StatCache:
    return StatCache(root / "resolved" / f"stat-{short(digest([source.kind, source.name]))}.json")


@dataclass(frozen=True)
class _Inspected:
    """A file with what identifies it now."""

    file: InputFile
    identity: str
    stamp: str
    trouble: Trouble | None = None
    pieces: Sequence[Piece] = ()


def _inspected(
    source: AnySource, file: InputFile, cache: StatCache, unsteady: frozenset[str]
) -> _Inspected:
    try:
        stamp = stamp_of(file)
        if file.path in unsteady:
            trouble = Trouble("changed_while_read", "it changed each time it was read; try later")
            return _Inspected(file, f"unsteady {stamp}", stamp, trouble)
        if file.num_bytes is None and not file.is_url and not file.is_stream:
            file = replace(file, num_bytes=Path(file.path).stat().st_size)
        rule = source.cut_rule(file)
        pieces: list[Piece] = []
        if rule is not None:
            found = cache.remembered(file.path, rule, lambda _: _plain(source.pieces(file)))
            pieces = [Piece(*piece) for piece in found]
        if len(pieces) == 1 and pieces[0].identity:  # it could not be cut, but is hashed
            return _Inspected(file, pieces[0].identity, stamp)
        if pieces and all(piece.identity for piece in pieces):
            return _Inspected(file, "", stamp, pieces=pieces)
        return _Inspected(file, _identity(file, cache), stamp, pieces=pieces)
    except OSError as error:
        told = error.strerror or str(error)
        return _Inspected(file, f"unreadable {told}", "", Trouble("unreadable", told))


def _plain(pieces: Sequence[Piece]) -> list[list[int | str]]:
    return [[p.start, p.stop, p.first_row, p.identity, p.num_bytes] for p in pieces]


def _identity(file: InputFile, cache: StatCache) -> str:
    if file.identity is not None:
        return file.identity
    if not file.is_url:
        return cache.hash_of(file.path)
    found = hashlib.sha256()
    with open_input(file) as handle:
        while block := handle.read(HASH_BYTES):
            found.update(block)
    return found.hexdigest()


def _cut(
    unit: InputUnit, looked_at: Sequence[_Inspected]
) -> Iterator[tuple[InputUnit, Sequence[_Inspected]]]:
    """The unit itself, or one unit per piece where its only file was cut."""
    one = looked_at[0]
    if len(looked_at) > 1 or len(one.pieces) < 2 or one.trouble is not None:
        yield InputUnit(unit.name, tuple(seen.file for seen in looked_at)), looked_at
        return
    for i, piece in enumerate(one.pieces):
        file = replace(
            one.file.piece(i, piece.start, piece.stop, piece.first_row), num_bytes=piece.num_bytes
        )
        identity = piece.identity or f"{one.identity}:{piece.start}-{piece.stop}"
        seen = replace(one, file=file, identity=identity, pieces=())
        yield InputUnit(f"{unit.name}@{i + 1}", (file,)), [seen]


def _job(
    source: AnySource,
    piece: tuple[InputUnit, Sequence[_Inspected]],
    root: Path,
    runtime: Runtime,
) -> ReadJob:
    unit, looked_at = piece
    content = digest(
        [[s.file.name, s.identity, s.file.segment, s.file.first_row] for s in looked_at]
    )
    config = {"source": source.identity(), "unit": unit.name}
    return ReadJob(
        source,
        unit,
        artifact_key(STAGE, STAGE_VERSION, config, [f"files@{content}"]),
        tuple(seen.stamp for seen in looked_at),
        root,
        runtime.verify,
        runtime.lock_wait_seconds,
        {seen.file.name: seen.trouble for seen in looked_at if seen.trouble is not None},
    )


def stamp_of(file: InputFile) -> str:
    """Changes when the file changes: size and time, or what its store says; OSError if gone."""
    if file.is_stream:
        return ""
    if file.is_url:
        return repr(describe_remote(file.path, file.options))
    status = os.stat(file.path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
