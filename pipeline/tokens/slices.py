"""One slice of a cleaned part becomes one training shard and one validation shard, in a worker.

A slice is a run of documents cut by bytes of text, so it depends on the text alone, never on how
many workers there are. The facts file is written last: where it lies, the slice is done.
"""

import collections
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.cleaned import KeptPart, iter_kept
from pipeline.corpus.document import TextBatch
from pipeline.store.errors import ArtifactError
from pipeline.tokens.engines import EngineName, LoadedEngine, load_engine
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.shards import SPLITS, Split, token_dtype
from pipeline.tokens.tokenizer import Tokenizer

FACTS_PREFIX = "slice-"


@dataclass(frozen=True)
class SliceJob:
    """Documents `start` to `stop` of a cleaned part, to be written as shards number `index`."""

    part: KeptPart
    index: int
    start: int
    stop: int
    tokenizer: Path
    out: Path
    validation_fraction: float
    seed: int
    engine: EngineName = "tiktoken"

    @property
    def facts_path(self) -> Path:
        """Where the counts of a finished slice lie."""
        return self.out / f"{FACTS_PREFIX}{self.index:05d}.json"

    def shard_path(self, split: Split) -> Path:
        """Where the shard of `split` goes; a split without documents has none."""
        return self.out / f"{split}-{self.index:05d}.arrow"


def document_bytes(part: KeptPart) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of each kept document of a part, in order, (documents,)."""
    sizes = [np.diff(batch.offsets) for batch in iter_kept(part, ("text",))]
    return np.concatenate([np.empty(0, np.int64), *sizes])


def cut(sizes: npt.NDArray[np.int64], slice_bytes: int) -> list[tuple[int, int]]:
    """Runs of documents of nearly equal bytes: as few as can hold `slice_bytes` or less each.

    A run ends with the document that reaches its share, so it may exceed it by that document.
    """
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    count = max(1, -(-total // slice_bytes))
    shares = np.arange(1, count + 1, dtype=np.float64) * (total / count)
    stops = np.minimum(np.searchsorted(ends, shares - 0.5) + 1, len(sizes))
    stops[-1] = len(sizes)
    places = sorted({0, *stops.tolist()})
    return list(zip(places[:-1], places[1:], strict=True))


def is_validation(doc_id: str, *, fraction: float, seed: int) -> bool:
    """Whether a document belongs to the validation split: decided by its id and the seed alone."""
    data = f"validation {seed}\0".encode() + doc_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:7], "big") < fraction * (1 << 56)


def encode_run(jobs: Sequence[SliceJob]) -> list[dict[str, Any]]:
    """Write the shards of consecutive slices of one part, reading the part once; their counts.

    A slice that is done is only read.
    """
    documents = slice_documents(jobs[0].part, jobs[0].start, jobs[-1].stop)
    facts = []
    for job in jobs:
        own = islice(documents, job.stop - job.start)
        done = _done(job)
        if done is None:
            done = _encode_slice(job, own)
        collections.deque(own, maxlen=0)  # what was not read of a slice that is done
        facts.append(done)
    return facts


def _encode_slice(job: SliceJob, documents: Iterable[tuple[str, str, bytes]]) -> dict[str, Any]:
    tokenizer, loaded = _prepared(job.tokenizer, job.engine)
    dtype = token_dtype(tokenizer.vocab_size)
    rows: dict[Split, list[TokenRow]] = {split: [] for split in SPLITS}
    sources: dict[str, dict[str, int]] = {}
    sizes = dict.fromkeys(SPLITS, 0)
    for doc_id, source, text in documents:
        # A copy in the type of the shard: an engine's array may hold room for an id per byte.
        ids = loaded.engine.encode(text).astype(dtype)
        held = is_validation(doc_id, fraction=job.validation_fraction, seed=job.seed)
        split: Split = "validation" if held else "train"
        rows[split].append(TokenRow(doc_id, source, ids))
        sizes[split] += len(text)
        totals = sources.setdefault(source, {"documents": 0, "bytes": 0, "tokens": 0})
        totals["documents"] += 1
        totals["bytes"] += len(text)
        totals["tokens"] += len(ids) + 2
    facts: dict[str, Any] = {
        "sources": sources,
        "shards": sum(1 for split in SPLITS if rows[split]),
        "engines": {loaded.engine.name: 1},
        "refused": [loaded.refused] if loaded.refused else [],
    }
    for split in SPLITS:
        tokens = write_shard(job.shard_path(split), rows[split], tokenizer) if rows[split] else 0
        facts[f"{split}_tokens"] = tokens
        facts[f"{split}_documents"] = len(rows[split])
        facts[f"{split}_bytes"] = sizes[split]
    # Not flushed: after a power cut an unreadable facts file only means the slice is done again.
    temporary = job.facts_path.with_name(f".{job.facts_path.name}.tmp-{os.getpid()}")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps(facts))
    os.replace(temporary, job.facts_path)
    return facts


def _done(job: SliceJob) -> dict[str, Any] | None:
    """Counts of a slice finished before; None if a shard is missing (moved on, then lost)."""
    try:
        facts: dict[str, Any] = json.loads(job.facts_path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    expected = [split for split in SPLITS if facts[f"{split}_documents"]]
    return facts if all(job.shard_path(split).is_file() for split in expected) else None


def add_up(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several slices or parts as one; `engines` counts the slices each engine did."""
    names = ["shards", *(f"{s}_{n}" for s in SPLITS for n in ("tokens", "documents", "bytes"))]
    total: dict[str, Any] = {name: sum(fact[name] for fact in facts) for name in names}
    sources: dict[str, dict[str, int]] = {}
    engines: Counter[str] = Counter()
    for fact in facts:
        engines.update(fact.get("engines", {}))  # absent in parts written before there were two
        for source, counts in fact["sources"].items():
            sums = sources.setdefault(source, dict.fromkeys(counts, 0))
            for name, count in counts.items():
                sums[name] += count
    return total | {"sources": sources, "engines": dict(sorted(engines.items()))}


def slice_documents(part: KeptPart, start: int, stop: int) -> Iterator[tuple[str, str, bytes]]:
    """Document id, source and UTF-8 of kept documents `start` to `stop`, one batch in memory."""
    seen = 0
    for batch in iter_kept(part):
        low, high = max(start - seen, 0), min(stop - seen, len(batch))
        seen += len(batch)
        if low < high:
            rows = batch.slice(low, high - low)
            yield from zip(rows.doc_ids, rows.sources, _utf8(rows, part.path), strict=True)
        if seen >= stop:
            return


def _utf8(rows: TextBatch, where: Path) -> Iterator[bytes]:
    """The bytes of each text; ArtifactError where they are no UTF-8: engines trust it is."""
    try:
        rows.text_array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ArtifactError(f"{where} is damaged ({error}); delete it and rerun clean") from error
    offsets = rows.offsets.tolist()
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        yield rows.data[begin:end].tobytes()


@functools.lru_cache(maxsize=2)
def _prepared(path: Path, engine: EngineName) -> tuple[Tokenizer, LoadedEngine]:
    """What a worker needs for every slice, made once."""
    tokenizer = Tokenizer.load(path)
    return tokenizer, load_engine(tokenizer, path, engine)
