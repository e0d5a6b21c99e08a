"""What is on record about every judged document of a corpus: fate, measures, whereabouts.

    measures.parquet of each part + removed-<i>.arrow -> MeasuredPart, one part in memory at a time

Everything that explains a corpus (counts, histograms, samples, re-judging) starts here; no text is
read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import cut_bytes_by_row, removed_name
from pipeline.corpus.document import iter_batches, open_documents
from pipeline.corpus.filters.base import Step
from pipeline.corpus.rejects import DOCUMENTS, MEASURES, REJECTED
from pipeline.corpus.steps import AnyStep, expanded
from pipeline.store.errors import ArtifactError

KEPT = ""
"""The fate of a document that stayed."""
CUT = "cut inside kept documents"
"""The fate of text that left a document that stayed; of no document."""
MENTIONS = "mentions."
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MeasuredPart:
    """The judged documents of one part, in the order in which they were read; N rows."""

    index: int
    path: Path
    table: pa.Table
    """measures.parquet."""
    removed: pa.Table
    """removed-<index>.arrow."""
    cuts: tuple[I64, I64]
    """((R,) rows of documents.arrow that are cut, (R,) bytes each of them loses)."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def doc_ids(self) -> list[str]:
        """The document ids."""
        ids: list[str] = self.table.column("doc_id").to_pylist()
        return ids

    @cached_property
    def sources(self) -> list[str]:
        """The name of each document's source."""
        names: list[str] = self.table.column("source").to_pylist()
        return names

    @cached_property
    def languages(self) -> list[str | None]:
        """Language codes; None where no step asked for the language."""
        return self._optional("language")

    @cached_property
    def first_objections(self) -> list[str | None]:
        """The reason a filter turned each document away for; None where none did."""
        reasons: list[str | None] = self.table.column("reason").to_pylist()
        return reasons

    @cached_property
    def objections(self) -> list[list[str]]:
        """All objections to each document, the first first."""
        if "reasons" in self.table.column_names:
            return [list(found or ()) for found in self.table.column("reasons").to_pylist()]
        return [[reason] if reason else [] for reason in self.first_objections]

    @cached_property
    def num_bytes(self) -> I64:
        """(N,) UTF-8 bytes of each document's text after cleaning."""
        if "bytes" in self.table.column_names:
            return self.table.column("bytes").to_numpy().astype(np.int64)
        sizes = np.zeros(len(self), np.int64)
        passed = self.passed
        sizes[passed] = _text_bytes(self.path / DOCUMENTS)
        sizes[~passed] = _text_bytes(self.path / REJECTED)
        return sizes

    @cached_property
    def cut_bytes(self) -> I64:
        """(N,) of `num_bytes`, those cut out of kept documents across parts."""
        rows, lost = self.cuts
        cut = np.zeros(len(self), np.int64)
        cut[np.flatnonzero(self.passed)[rows]] = lost
        return cut

    @cached_property
    def passed(self) -> npt.NDArray[np.bool_]:
        """(N,) no filter objected; the i-th true row is row i of documents.arrow."""
        return pc.is_null(self.table.column("reason")).to_numpy()

    @cached_property
    def fates(self) -> list[str]:
        """KEPT, or why the document is gone: a filter's reason, or that of the removal list."""
        fates = [reason or KEPT for reason in self.first_objections]
        rows = np.flatnonzero(self.passed)
        for row, reason in zip(
            self.removed.column("row").to_pylist(),
            self.removed.column("reason").to_pylist(),
            strict=True,
        ):
            fates[rows[row]] = reason
        return fates

    @cached_property
    def measure_names(self) -> list[str]:
        """Columns `kind.measure` in order; mentions of term groups are none."""
        names = self.table.column_names
        return [name for name in names if "." in name and not name.startswith(MENTIONS)]

    def column(self, name: str) -> npt.NDArray[Any]:
        """(N,) values of one measure as stored; see `known` for which of them hold."""
        return stored_column(self.table, name)

    @cached_property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """All measures by name."""
        return {name: self.column(name) for name in self.measure_names}

    def row(self, index: int) -> dict[str, Any]:
        """Everything on record about one document."""
        values: dict[str, Any] = self.table.slice(index, 1).to_pylist()[0]
        return values

    def _optional(self, name: str) -> list[Any]:
        if name in self.table.column_names:
            return list(self.table.column(name).to_pylist())
        return [None] * len(self)


def measured_parts(corpus: CleanedCorpus) -> Iterator[MeasuredPart]:
    """Every part of the corpus, loaded one at a time."""
    for index, path in enumerate(corpus.part_paths()):
        yield measured_part(corpus, index, path)


@dataclass(frozen=True)
class MeasuredCorpus:
    """The parts of a corpus, read anew each time one goes through them."""

    corpus: CleanedCorpus

    def __iter__(self) -> Iterator[MeasuredPart]:
        return measured_parts(self.corpus)


def steps_of(corpus: CleanedCorpus) -> tuple[Step, ...]:
    """The plain steps a corpus was cleaned with; ArtifactError for settings of another version."""
    config = corpus.manifest.config
    written = config.get("steps", config.get("filters", ()))
    try:
        return expanded(TypeAdapter(tuple[AnyStep, ...]).validate_python(written))
    except ValidationError as error:
        raise ArtifactError(
            f"{corpus.ref} was cleaned with steps this version does not know "
            f"({error.error_count()} wrong settings); run clean again"
        ) from error


def measured_part(corpus: CleanedCorpus, index: int, path: Path) -> MeasuredPart:
    """The part at `index`; ArtifactError when its record is missing or damaged."""
    with open_documents(corpus.path / removed_name(index)) as reader:
        removed = reader.read_all()
    try:
        table = pq.read_table(path / MEASURES)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtifactError(
            f"{path / MEASURES} cannot be read ({error}); delete {path} and run clean again"
        ) from error
    return MeasuredPart(index, path, table, removed, cut_bytes_by_row(corpus.path, index))


def stored_column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """(N,) one column; nulls become NaN in floats, 0 in whole numbers, False in truth values."""
    column = table.column(name)
    if not column.null_count:
        return column.to_numpy()
    kind = column.type
    if pa.types.is_floating(kind):
        return column.to_numpy()  # NaN
    if pa.types.is_boolean(kind):
        return column.fill_null(False).to_numpy()
    if pa.types.is_integer(kind):
        return column.fill_null(0).to_numpy()
    return column.to_numpy()


def known(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """(N,) where a measure was taken: neither null nor NaN."""
    column = table.column(name)
    there = pc.is_valid(column).to_numpy()
    if pa.types.is_floating(column.type):
        return np.asarray(there & ~np.isnan(column.to_numpy()))
    return np.asarray(there)


def _text_bytes(path: Path) -> I64:
    sizes = [batch.num_bytes for batch in iter_batches(path, ("text",))]
    return np.concatenate([np.zeros(0, np.int64), *sizes])
