"""Freeze the held-out documents: chosen by hash before any filter, kept for good under a name.

    sources -> parts -> sha256(seed, doc_id) in ascending order, per source -> documents.arrow

Whatever later changes in corpus or filters is measured on the same text.
"""

import hashlib
import os
import socket
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.artifacts import EvalSet
from pipeline.corpus.document import iter_batches
from pipeline.corpus.reading import WORKERS_LOAD, RawPart, read_sources
from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.arrow_writer import ArrowWriter
from pipeline.store.building import ArtifactKey, Outcome, build
from pipeline.store.errors import ArtifactError, DataError, NotBuilt
from pipeline.store.files import check_name, file_lock
from pipeline.store.fingerprint import digest, plain
from pipeline.store.manifest import is_finished, verify
from pipeline.store.provenance import now
from pipeline.store.runtime import Runtime

STAGE = "eval_set"
STAGE_VERSION = 1
EVAL_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)


class EvalSetConfig(BaseModel):
    """Which documents are held out, once, under which name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "default",
        title="Name",
        description="What the set is frozen under; a set that exists is used as it is.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    max_bytes: int = Field(
        800_000, ge=1, title="Size", description="Most UTF-8 bytes of text held out."
    )
    max_fraction: float = Field(
        0.1,
        gt=0.0,
        le=0.5,
        title="Largest share",
        description="Largest share of each source's bytes held out; small corpora keep the rest.",
    )
    min_document_bytes: int = Field(
        200, ge=1, title="Shortest document", description="UTF-8 bytes."
    )
    max_document_bytes: int = Field(
        50_000, ge=1, title="Longest document", description="UTF-8 bytes; so that no one dominates."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Another seed holds out other documents.")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "EvalSetConfig":
        if self.min_document_bytes > self.max_document_bytes:
            raise ValueError(
                f"min_document_bytes={self.min_document_bytes} exceeds "
                f"max_document_bytes={self.max_document_bytes}"
            )
        return self


def freeze_eval_set(
    config: EvalSetConfig, sources: Sequence[AnySource], *, root: Path, runtime: Runtime
) -> EvalSet:
    """The eval set of `config.name`: verified and reused if it exists, else chosen from `sources`.

    An existing set wins over a changed config or changed sources; the difference is reported as a
    `warning` event. Raises DataError when no document qualifies.
    """
    directory = root / "eval-sets" / check_name(config.name, what="eval_set.name")
    described = {**plain(config), "sources": sorted(source.name for source in sources)}
    if is_finished(directory):
        return _frozen(directory, described, runtime)
    if not runtime.may_build:
        raise NotBuilt(
            f"eval set {config.name!r} is not frozen in {root}, and this run may not freeze it; "
            "`mill run CONFIG` does"
        )
    with file_lock(
        root / "locks" / f"freeze-{config.name}.lock",
        owner=f"process {os.getpid()} on {socket.gethostname()} since {now()}",
        wait_seconds=runtime.lock_wait_seconds,
        waiting=lambda holder: runtime.progress.event(
            "waiting", {"artifact": str(directory), "for": holder}
        ),
    ):
        if is_finished(directory):
            return _frozen(directory, described, runtime)
        # Cleaning follows, by workers that are forked from the same server.
        parts = read_sources(sources, root=root, runtime=runtime.preloading(WORKERS_LOAD))
        chosen, facts = _choose(config, parts)
        documents = sorted(_texts(parts, chosen), key=lambda d: (d.source, d.doc_id))
        content = digest([STAGE, STAGE_VERSION, [[d.doc_id, d.text, d.source] for d in documents]])
        inputs = tuple(f"read@{part.fingerprint}" for part in parts)
        key = ArtifactKey(STAGE, STAGE_VERSION, described, inputs, content)
        work = partial(_write, documents, facts)
        return EvalSet(build(key, directory, work, root=root, runtime=runtime), content)


def light_text(text: str) -> str:
    r"""Newlines as `\n` and composed characters (NFC); nothing else is touched."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


@dataclass(frozen=True)
class _Candidate:
    """A document that may be held out; sorted by `order`."""

    order: bytes
    num_bytes: int
    part: int
    row: int
    source: str


@dataclass(frozen=True)
class _Document:
    doc_id: str
    text: str
    source: str


def _frozen(directory: Path, described: dict[str, Any], runtime: Runtime) -> EvalSet:
    manifest = verify(directory, mode=runtime.verify)
    if manifest.stage != STAGE:
        raise ArtifactError(f"{directory} holds {manifest.ref}; move it away and rerun")
    frozen = manifest.config
    changed = sorted(key for key in described if described[key] != frozen.get(key))
    if changed:
        differences = "; ".join(f"{k}={described[k]!r}, frozen {frozen.get(k)!r}" for k in changed)
        message = (
            f"eval set {directory.name!r} is frozen and used as it is ({differences}); "
            "choose another eval_set.name to draw a new one"
        )
        runtime.progress.event("warning", {"artifact": manifest.ref, "message": message})
    runtime.progress.event("reused", {"artifact": manifest.ref})
    return EvalSet(directory, manifest.fingerprint)


def _choose(
    config: EvalSetConfig, parts: Sequence[RawPart]
) -> tuple[list[_Candidate], dict[str, Any]]:
    """The documents to hold out, and what the manifest says about the choice."""
    candidates: list[_Candidate] = []
    corpus: dict[str, dict[str, int]] = {}
    for number, part in enumerate(parts):
        seen = corpus.setdefault(part.source, {"documents": 0, "bytes": 0})
        candidates += _candidates(config, number, part, seen)
    total = sum(seen["bytes"] for seen in corpus.values())
    documents = sum(seen["documents"] for seen in corpus.values())
    if not candidates or documents < 2:
        raise DataError(
            f"no eval set can be held out: {len(candidates)} of {documents} documents have "
            f"{config.min_document_bytes} to {config.max_document_bytes} bytes, and at least one "
            "must remain to train on; add text (split one large file with `separator`) or change "
            "eval_set.min_document_bytes and eval_set.max_document_bytes"
        )
    size = min(config.max_bytes, int(total * config.max_fraction))
    chosen: list[_Candidate] = []
    candidates.sort(key=attrgetter("source", "order"))
    for source, group in groupby(candidates, key=attrgetter("source")):
        budget = size * corpus[source]["bytes"] // max(total, 1)
        chosen += _fitting(group, budget)
    if not chosen:  # every document is larger than its source's share: one is held out all the same
        chosen = [min(candidates, key=attrgetter("order"))]
    facts = {
        "corpus_documents": documents,
        "corpus_bytes": total,
        "eligible_documents": len(candidates),
        "corpus_per_source": corpus,
    }
    return chosen, facts


def _candidates(
    config: EvalSetConfig, number: int, part: RawPart, seen: dict[str, int]
) -> Iterator[_Candidate]:
    row = 0
    salt = f"{config.seed}\n".encode()
    for batch in iter_batches(part.documents_path, columns=("doc_id", "text")):
        sizes = batch.num_bytes
        seen["documents"] += len(batch)
        seen["bytes"] += int(sizes.sum())
        fits = (sizes >= config.min_document_bytes) & (sizes <= config.max_document_bytes)
        doc_ids = batch.doc_ids
        for i in np.flatnonzero(fits):
            order = hashlib.sha256(salt + doc_ids[i].encode("utf-8")).digest()
            yield _Candidate(order, int(sizes[i]), number, row + int(i), part.source)
        row += len(batch)


def _fitting(candidates: Iterable[_Candidate], budget: int) -> Iterator[_Candidate]:
    """In order of hash until one does not fit: to go on would favour short documents."""
    left = budget
    for candidate in candidates:
        if candidate.num_bytes > budget:
            continue  # larger than the whole share
        if candidate.num_bytes > left:
            return
        left -= candidate.num_bytes
        yield candidate


def _texts(parts: Sequence[RawPart], chosen: Sequence[_Candidate]) -> Iterator[_Document]:
    """The chosen documents, lightly normalised; of equal texts only the first."""
    seen: set[bytes] = set()
    for number, group in groupby(sorted(chosen, key=attrgetter("part", "row")), attrgetter("part")):
        rows = np.array([candidate.row for candidate in group])
        start = 0
        for batch in iter_batches(parts[number].documents_path):
            stop = start + len(batch)
            for row in rows[(rows >= start) & (rows < stop)] - start:
                one = batch.slice(int(row), 1)
                text = light_text(one.texts[0])
                text_hash = hashlib.sha256(text.encode("utf-8")).digest()
                if text_hash not in seen:
                    seen.add(text_hash)
                    yield _Document(one.doc_ids[0], text, one.sources[0])
            start = stop


def _write(documents: Sequence[_Document], facts: dict[str, Any], directory: Path) -> Outcome:
    writer = ArrowWriter(directory / "documents.arrow", EVAL_SCHEMA)
    per_source: dict[str, dict[str, int]] = {}
    for document in documents:
        num_bytes = len(document.text.encode("utf-8"))
        writer.add((document.doc_id, document.text, document.source), num_bytes=num_bytes)
        held = per_source.setdefault(document.source, {"documents": 0, "bytes": 0})
        held["documents"] += 1
        held["bytes"] += num_bytes
    writer.close()
    totals = {
        "documents": sum(held["documents"] for held in per_source.values()),
        "bytes": sum(held["bytes"] for held in per_source.values()),
    }
    return Outcome(facts={**totals, "per_source": per_source, **facts})
