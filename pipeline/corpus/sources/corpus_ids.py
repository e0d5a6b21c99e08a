"""Ids that a source declares unique in the whole corpus (`ids: corpus`) are held to it.

Twelve bytes per document while it runs; parts that passed together are not compared again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.corpus.document import iter_batches
from pipeline.corpus.sources.unit import Source
from pipeline.store.errors import DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import digest, short


class Part(Protocol):
    """A finished part with its documents."""

    @property
    def documents_path(self) -> Path: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def source(self) -> str: ...


def check_corpus_ids(sources: Sequence[Source], parts: Sequence[Part], *, root: Path) -> None:
    """DataError naming an id that occurs in two parts of sources with `ids: corpus`."""
    declared = {source.name for source in sources if getattr(source, "ids", "file") == "corpus"}
    chosen = {part.fingerprint: part for part in parts if part.source in declared}
    if len(chosen) < 2:
        return
    asked = digest(sorted(chosen))
    record = root / "resolved" / f"ids-{short(asked)}.json"
    if record.is_file():
        return
    ordered = list(chosen.values())
    hashes = [_hashes(part) for part in ordered]
    everything = np.concatenate(hashes)
    everything.sort()
    repeated = everything[1:][everything[1:] == everything[:-1]]
    if len(repeated):
        homes = [
            part for part, own in zip(ordered, hashes, strict=True) if np.isin(repeated[0], own)
        ]
        names = " and ".join(sorted({f"{part.source!r}" for part in homes}))
        raise DataError(
            f"the id {_id_of(homes[0], int(repeated[0]))!r} occurs in two files of source {names}, "
            f"and {len(repeated) - 1} more ids do; `ids: corpus` promises that no id occurs twice: "
            "remove it (`ids: file` puts source and file before each id), or repair the ids"
        )
    write_json(record, {"parts": sorted(chosen), "ids": len(everything)})


def _hashes(part: Part) -> npt.NDArray[np.uint64]:
    pieces = [
        np.fromiter(
            (xxhash.xxh3_64_intdigest(i.encode()) for i in batch.doc_ids),
            np.uint64,
            count=len(batch),
        )
        for batch in iter_batches(part.documents_path, columns=("doc_id",))
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)


def _id_of(part: Part, wanted: int) -> str:
    for batch in iter_batches(part.documents_path, columns=("doc_id",)):
        for doc_id in batch.doc_ids:
            if xxhash.xxh3_64_intdigest(doc_id.encode()) == wanted:
                return doc_id
    return "?"
