"""What the source tests share: a reader of one source into plain Python."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.document import iter_batches
from pipeline.corpus.reading import RawPart, read_sources
from pipeline.corpus.sources import AnySource
from pipeline.store.manifest import read_manifest
from pipeline.store.runtime import Runtime


class Recorder:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.advances: list[tuple[float, float | None]] = []

    def advance(self, done: float, total: float | None, unit: str) -> None:
        self.advances.append((done, total))

    def event(self, name: str, facts: Any) -> None:
        self.events.append((name, dict(facts)))

    def messages(self, name: str) -> str:
        return " ".join(
            str(facts.get("message", "")) for event, facts in self.events if event == name
        )


@dataclass
class Read:
    """What came out of reading sources."""

    parts: list[RawPart]
    documents: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        return [record["reason"] for record in self.quarantine]

    @property
    def fingerprints(self) -> list[str]:
        return [part.fingerprint for part in self.parts]


@pytest.fixture
def read(tmp_path: Path):
    """read(source, ...) -> Read, under one root per test."""

    def run(
        *sources: AnySource, root: Path = tmp_path / "root", runtime: Runtime | None = None
    ) -> Read:
        parts = read_sources(list(sources), root=root, runtime=runtime or Runtime())
        result = Read(parts)
        for part in parts:
            result.facts.append(dict(read_manifest(part.path).facts))
            for batch in iter_batches(part.documents_path):
                result.documents.update(zip(batch.doc_ids, batch.texts, strict=True))
                facts = map(json.loads, batch.table.column("metadata").to_pylist())
                result.metadata.update(zip(batch.doc_ids, facts, strict=True))
            lines = part.quarantine_path.read_text().splitlines()
            result.quarantine += [json.loads(line) for line in lines]
        return result

    return run


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
