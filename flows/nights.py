"""What grew night by night: the chain of corpora, and the ledger that remembers it.

root/journal/nights-NAME.jsonl     one line per corpus that joined the chain, one per night's end

The chain is what new text is deduplicated against; which of it a model has seen, the model's own
lineage says. A line lost with the power is written again: its corpus is found finished.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import CleanedCorpus, EvalSet, TokenShards, seek_artifact
from pipeline.corpus.dedup.earlier import raw_parts_of
from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.file_source import FileSource
from pipeline.corpus.sources.files import NAME_BEGINS
from pipeline.corpus.sources.inputs import InputFile
from pipeline.corpus.sources.jobs import contents_of, jobs_of
from pipeline.store.errors import DataError
from pipeline.store.files import check_name, file_lock
from pipeline.store.manifest import is_finished
from pipeline.store.provenance import now
from pipeline.store.runtime import Runtime
from pipeline.tracking.journal import FileJournal, read_all


@dataclass(frozen=True)
class Link:
    """One corpus of the chain."""

    corpus: CleanedCorpus
    shards: TokenShards | None
    """None: everything in its files was known already, or failed a filter."""
    files: int = 0
    """How many new files it was made from."""


@dataclass(frozen=True)
class NightEnd:
    """How one night ended, as the ledger has it."""

    ended: datetime
    facts: Mapping[str, Any]


class Nights:
    """The chain of one registered model under one root."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, check_name(name, what="registry.name")
        self.path = root / "journal" / f"nights-{name}.jsonl"

    def links(self) -> tuple[Link, ...]:
        """The chain, oldest first, as far as it is there."""
        found = (self._opened(facts) for facts in self._joined())
        return tuple({link.corpus.key: link for link in found if link is not None}.values())

    def lost(self) -> tuple[str, ...]:
        """What belongs to the chain and is gone; the text of its files is new again."""
        return tuple(
            str(facts["shards"])
            for facts in self._joined()
            if facts["shards"] and self._opened(facts) is None
        )

    def contents(self) -> frozenset[str]:
        """What stands for the content of every file in the chain.

        Also of files that brought nothing new: a corpus of copies is not missed when it is gone.
        """
        return frozenset(
            content
            for facts in self._joined()
            if facts["shards"] is None or self._opened(facts) is not None
            for content in facts.get("contents", ())
        )

    def join(self, link: Link, contents: Sequence[str]) -> None:
        """Add a corpus made from files of these contents to the chain."""
        shards = link.shards.ref if link.shards is not None else None
        facts = {
            "corpus": link.corpus.ref, "shards": shards, "files": link.files,
            "contents": list(contents),
        }  # fmt: skip
        self._append("joined", facts)

    def ends(self) -> tuple[NightEnd, ...]:
        """How the nights so far ended, oldest first."""
        return tuple(
            NightEnd(datetime.fromtimestamp(record.milliseconds / 1000, UTC), record.facts or {})
            for record in read_all(self.path).records
            if record.event == "ended"
        )

    def end(self, facts: Mapping[str, Any]) -> None:
        """Write down how tonight ended."""
        self._append("ended", facts)

    @contextmanager
    def held(self, runtime: Runtime) -> Iterator[None]:
        """One run at a time extends the chain."""
        with file_lock(
            self.root / "locks" / f"nights-{self.name}.lock",
            owner=f"process {os.getpid()} on {socket.gethostname()} since {now()}",
            wait_seconds=runtime.lock_wait_seconds,
            waiting=lambda holder: runtime.progress.event("waiting", {"for": holder}),
        ):
            yield

    def _joined(self) -> list[Mapping[str, Any]]:
        records = read_all(self.path).records
        return [r.facts for r in records if r.event == "joined" and r.facts is not None]

    def _opened(self, facts: Mapping[str, Any]) -> Link | None:
        """The link, None where its corpus or its shards are gone."""
        corpus = seek_artifact(self.root, facts["corpus"])
        wanted = facts["shards"]
        shards = seek_artifact(self.root, wanted) if wanted else None
        if not isinstance(corpus, CleanedCorpus):
            return None
        if wanted is not None and not isinstance(shards, TokenShards):
            return None
        usable = shards if isinstance(shards, TokenShards) else None
        return Link(corpus, usable, int(facts.get("files", 0)))

    def _append(self, event: str, facts: Mapping[str, Any]) -> None:
        journal = FileJournal(self.path)
        journal.event(event, facts)
        journal.close()


@dataclass(frozen=True)
class Arrived:
    """What the chain does not know yet."""

    sources: tuple[AnySource, ...]
    """Those with something new, reduced to it."""
    files: tuple[str, ...]
    """Names of the new files, or of the new units of sources that are no files."""
    contents: tuple[str, ...]
    """What stands for the content of the new files."""
    num_bytes: int
    notes: tuple[str, ...] = ()
    """Sources without input, files that cannot be read."""


def arrived(
    sources: Sequence[AnySource], nights: Nights, *, root: Path, runtime: Runtime
) -> Arrived:
    """Files of unknown content, and units of other sources that no corpus was made from.

    A folder into which nothing was put yet is no mistake; DataError when no source has any input.
    """
    known = nights.contents()
    parts = raw_parts_of([link.corpus for link in nights.links()])
    found: list[AnySource] = []
    notes: list[str] = []
    files: list[str] = []
    contents: list[str] = []
    num_bytes = 0
    for source in sources:
        if not isinstance(source, FileSource):
            jobs = jobs_of(source, root=root, runtime=runtime)
            new_jobs = [job for job in jobs if job.directory.name not in parts]
            files += [job.unit.name for job in new_jobs]
            num_bytes += sum(job.num_bytes for job in new_jobs)
            found += [source] if new_jobs else []
            continue
        try:
            there = contents_of(source, root=root, runtime=runtime)
        except DataError as error:
            notes.append(str(error))
            continue
        notes += [f"{file.path} cannot be read" for file, content in there if content is None]
        new = {c: file for file, c in there if c is not None and c not in known}
        if new:
            files += [file.name for file in new.values()]
            contents += list(new)
            num_bytes += sum(file.known_bytes for file in new.values())
            found.append(source.model_copy(update={"paths": tuple(map(_path, new.values()))}))
    if len(notes) == len(sources):
        raise DataError(f"no source has any input: {'; '.join(notes)}")
    return Arrived(tuple(found), tuple(files), tuple(contents), num_bytes, tuple(notes))


def seek_frozen(root: Path, name: str) -> EvalSet | None:
    """The eval set frozen under this name, None if there is none yet."""
    path = root / "eval-sets" / check_name(name, what="eval_set.name")
    return EvalSet.open(path) if is_finished(path) else None


def _path(file: InputFile) -> str:
    """The file's path, marked so that it keeps its name, which has folders in it."""
    if file.is_url or not file.path.endswith(f"/{file.name}"):
        return file.path
    return f"{file.path[: -len(file.name) - 1]}{NAME_BEGINS}{file.name}"
