"""How often each kept document is trained on: weights of sources, and a budget.

    weights, budget -> rate of each source -> repeats of each document -> mix-<i>.arrow -> iter_kept

A rate of 2.3 takes every document of a source twice, and of three in ten a third copy. Which ones
is decided by a hash of their id, so a higher rate takes the same documents and more, whatever the
order and number of parts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.corpus.document import iter_batches, open_documents
from pipeline.corpus.mixing_settings import MixingConfig
from pipeline.store.errors import ConfigError

MIX_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # in the part's documents.arrow
        pa.field("repeats", pa.int32(), nullable=False),  # 0: not drawn
    ]
)
_BITS = 16
_BINS = 1 << _BITS  # by the first bits of the hash; one bin at a time is cut exactly


@dataclass(frozen=True)
class Weighed:
    """A document, as far as mixing is concerned."""

    row: int
    """In the part's documents.arrow."""
    doc_id: str
    bytes: int


@dataclass(frozen=True)
class MixPart:
    """A part's kept documents, read anew each time one goes through them."""

    source: str
    documents: Iterable[Weighed]


@dataclass(frozen=True)
class PartDocuments:
    """The documents of a cleaned part that are not on its removal list."""

    documents: Path
    """documents.arrow of the part."""
    removed: Path
    """removed-<i>.arrow of the corpus."""
    cuts: Path | None = None
    """cuts-<i>.arrow of the corpus, where there is one."""

    def __iter__(self) -> Iterator[Weighed]:
        with open_documents(self.removed) as reader:
            gone = set(reader.read_all().column("row").to_pylist())
        cut = _cut_bytes(self.cuts) if self.cuts is not None else {}
        start = 0
        for batch in iter_batches(self.documents, ("doc_id", "text")):
            rows = zip(batch.doc_ids, batch.num_bytes.tolist(), strict=True)
            for row, (doc_id, size) in enumerate(rows, start):
                if row not in gone:
                    yield Weighed(row, doc_id, size - cut.get(row, 0))
            start += len(batch)


def _cut_bytes(path: Path) -> dict[int, int]:
    """Bytes cut out of each row that loses any; overlapping cuts count once."""
    with open_documents(path) as reader:
        table = reader.read_all().select(["row", "begin", "end"])
    lost: dict[int, int] = defaultdict(int)
    reached: dict[int, int] = {}
    for row, begin, end in sorted(zip(*table.to_pydict().values(), strict=True)):
        fresh = max(begin, reached.get(row, 0))
        lost[row] += max(end - fresh, 0)
        reached[row] = max(end, reached.get(row, 0))
    return lost


@dataclass(frozen=True)
class Rate:
    """How often a source is used."""

    whole: int
    """Every document so often,"""
    threshold: int
    """and once more those whose 64-bit hash is below this."""

    def repeats(self, hash_value: int) -> int:
        """How often a document with this hash is used."""
        return self.whole + (hash_value < self.threshold)


def mix_name(index: int) -> str:
    """File name of the repeats of the part at `index`."""
    return f"mix-{index}.arrow"


def mix_parts(
    parts: Sequence[MixPart],
    config: MixingConfig,
    directory: Path,
    *,
    source_weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write `mix-<i>.arrow` per part into `directory`; returns the accounts for the manifest.

    Only documents not used exactly once are listed. Three passes over ids and sizes; memory does
    not grow with the corpus. ConfigError for a source that is not there, or nothing drawn.
    """
    sizes, bins = _sizes(parts, config.seed)
    wanted = _wanted_bytes(config, dict(source_weights or {}), sizes)
    rates = {
        source: _rate(parts, source, wanted[source], sizes[source], bins[source], config.seed)
        for source in sizes
    }
    drawn: dict[str, list[int]] = {source: [0, 0, 0, 0] for source in sizes}
    for index, part in enumerate(parts):
        rows, repeats = _repeats(part, rates, config.seed, drawn)
        table = pa.table(
            [pa.array(rows, pa.int64()), pa.array(repeats, pa.int32())], schema=MIX_SCHEMA
        )
        with pa.ipc.new_file(str(directory / mix_name(index)), MIX_SCHEMA) as writer:
            writer.write_table(table)
    facts = _facts(config, sizes, wanted, drawn)
    if facts["documents"] == 0:
        raise ConfigError(
            "the mix is empty: the weights of all sources are 0, or clean.mixing.budget "
            f"({facts['budget_bytes']} bytes) is smaller than any document"
        )
    return facts


def hash_of(doc_id: str, seed: int) -> int:
    """64 bits by which documents are drawn."""
    return xxhash.xxh3_64_intdigest(doc_id.encode("utf-8", "surrogatepass"), seed)


Sizes = dict[str, int]


def _sizes(parts: Sequence[MixPart], seed: int) -> tuple[Sizes, dict[str, npt.NDArray[np.int64]]]:
    """Bytes of each source, and by the first bits of the documents' hashes."""
    sizes: Sizes = {part.source: 0 for part in parts}
    bins = {source: np.zeros(_BINS, np.int64) for source in sizes}
    for part in parts:
        counts = bins[part.source]
        for document in part.documents:
            counts[hash_of(document.doc_id, seed) >> (64 - _BITS)] += document.bytes
    return {source: int(bins[source].sum()) for source in sizes}, bins


def _wanted_bytes(
    config: MixingConfig, source_weights: Mapping[str, float], sizes: Sizes
) -> dict[str, int]:
    """How many bytes each source should contribute, copies included."""
    unknown = sorted((set(config.weights) | set(config.shares)) - set(sizes))
    if unknown:
        raise ConfigError(
            f"clean.mixing names the source {unknown[0]!r}, there are {', '.join(sorted(sizes))}"
        )
    limits = {source: size * config.max_repeats for source, size in sizes.items()}
    if config.shares:
        ideal = _ideal_of_shares(config, sizes)
        budget = float(config.budget.num_bytes if config.budget else sum(sizes.values()))
        return _filled(ideal, limits, budget)
    weights = {source: 1.0 for source in sizes} | {**source_weights, **config.weights}
    ideal = {source: weights[source] * size for source, size in sizes.items()}
    if config.budget is None:
        return {source: round(min(ideal[source], limits[source])) for source in sizes}
    return _filled(ideal, limits, float(config.budget.num_bytes))


def _ideal_of_shares(config: MixingConfig, sizes: Sizes) -> dict[str, float]:
    rest = max(0.0, 1.0 - sum(config.shares.values()))
    others = sum(size for source, size in sizes.items() if source not in config.shares)
    return {
        source: config.shares.get(source, rest * size / others if others else 0.0)
        for source, size in sizes.items()
    }


def _filled(
    ideal: Mapping[str, float], limits: Mapping[str, float], budget: float
) -> dict[str, int]:
    """`budget` shared out in proportion to `ideal`; what a full source cannot take, others do."""
    given = dict.fromkeys(ideal, 0.0)
    open_sources = {source for source in ideal if ideal[source] > 0 and limits[source] > 0}
    left = budget
    while open_sources and left > 0.5:
        whole = sum(ideal[source] for source in open_sources)
        over = {s for s in open_sources if given[s] + left * ideal[s] / whole >= limits[s]}
        for source in over or open_sources:
            more = limits[source] - given[source] if over else left * ideal[source] / whole
            given[source] += more
        if not over:
            break
        left = budget - sum(given.values())
        open_sources -= over
    return {source: round(value) for source, value in given.items()}


def _rate(
    parts: Sequence[MixPart],
    source: str,
    wanted: int,
    size: int,
    bins: npt.NDArray[np.int64],
    seed: int,
) -> Rate:
    """The rate that comes closest to `wanted` bytes from below, exact to one document."""
    if size == 0 or wanted <= 0:
        return Rate(0, 0)
    whole, rest = divmod(wanted, size)
    cumulative = np.cumsum(bins)
    cut = int(np.searchsorted(cumulative, rest, side="right"))
    if rest == 0 or cut >= _BINS:
        return Rate(whole, 0)
    left = rest - (int(cumulative[cut - 1]) if cut else 0)
    inside = sorted(
        (value, document.bytes)
        for part in parts
        if part.source == source
        for document in part.documents
        if (value := hash_of(document.doc_id, seed)) >> (64 - _BITS) == cut
    )
    for value, num_bytes in inside:
        if num_bytes > left:
            return Rate(whole, value)
        left -= num_bytes
    return Rate(whole, (cut + 1) << (64 - _BITS))


def _repeats(
    part: MixPart, rates: Mapping[str, Rate], seed: int, drawn: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """The rows not used exactly once; counts documents, copies, bytes and undrawn documents."""
    rows, repeats = [], []
    rate, counts = rates[part.source], drawn[part.source]
    for document in part.documents:
        times = rate.repeats(hash_of(document.doc_id, seed))
        counts[0] += times > 0
        counts[1] += times
        counts[2] += times * document.bytes
        counts[3] += times == 0
        if times != 1:
            rows.append(document.row)
            repeats.append(times)
    return rows, repeats


def _facts(
    config: MixingConfig,
    sizes: Sizes,
    wanted: Mapping[str, int],
    drawn: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    total = sum(counts[2] for counts in drawn.values())
    whole = sum(sizes.values())
    by_source = {
        source: {
            "documents": documents, "copies": copies, "bytes": num_bytes, "not_drawn": undrawn,
            "bytes_available": sizes[source], "bytes_wanted": wanted[source],
            "rate": round(num_bytes / sizes[source], 6) if sizes[source] else 0.0,
            "share": round(num_bytes / total, 6) if total else 0.0,
            "share_before": round(sizes[source] / whole, 6) if whole else 0.0,
        }
        for source, (documents, copies, num_bytes, undrawn) in drawn.items()
    }  # fmt: skip
    names = ("documents", "copies", "bytes", "not_drawn")
    summed: dict[str, int] = defaultdict(int)
    for row in by_source.values():
        for name in names:
            summed[name] += int(row[name])
    budget = config.budget.num_bytes if config.budget else None
    return {
        **{name: summed[name] for name in names},
        "budget_bytes": budget,
        "short_of_budget_bytes": max(0, budget - sum(wanted.values())) if budget else 0,
        "by_source": by_source,
    }


def read_repeats(path: Path, count: int) -> npt.NDArray[np.int32]:
    """(count,) how often each of a part's `count` documents is used; 1 for those not listed."""
    repeats = np.ones(count, np.int32)
    with open_documents(path) as reader:
        table = reader.read_all()
    repeats[table.column("row").to_numpy()] = table.column("repeats").to_numpy()
    return repeats


def passes(repeats: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.bool_]]:
    """(count,) which rows are used in the first, the second, ... pass over a part.

    Copies are a whole part away from each other: no row of training text holds both.
    """
    for number in range(int(repeats.max(initial=0))):
        yield repeats > number
