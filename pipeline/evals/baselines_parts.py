"""One baseline, measured in a worker process and kept as a part of its own.

    scratch files + settings -> parts/baselines/<fp>/result.json

A part is keyed by the content it reads and by what is asked of it, so another model size or another
tokenizer leaves the compressors' parts as they are.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.evals.baselines_compressors import SEPARATOR, ppmd_primed, xz_alone, xz_primed
from pipeline.evals.baselines_inputs import Scratch
from pipeline.evals.baselines_ngram import (
    Counts,
    count_ngrams,
    document_nats,
    kneser_ney,
    places,
)
from pipeline.evals.baselines_ngram_pruned import entry_bytes, load_pruned, prune
from pipeline.evals.baselines_overlap import grams_in_training
from pipeline.store.building import ArtifactKey, Outcome, build
from pipeline.store.files import read_json, write_json
from pipeline.store.runtime import Runtime

VERSION = 1
RESULT = "result.json"
RowName = Literal[
    "xz", "xz_primed", "ppmd8_primed", "ppmd16_primed", "ngram5", "ngram5_pruned", "uniform"
]
NATS_PER_CODE_BYTE = float(np.log(256))


@dataclass(frozen=True)
class Part:
    """One thing to measure: its key, its place, and the settings that are in the key."""

    name: str
    key: ArtifactKey
    directory: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Parts that share work, for one worker."""

    root: str
    scratch: Scratch
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Measured:
    """What a baseline costs on the held-out text."""

    nats: float
    bytes: int
    """Of the model, or of what must be kept to make it again."""
    note: str
    nats_clean: float | None = None
    """On the clean documents, where `documents` cannot say it."""
    documents: list[float] | None = None
    """Nats per held-out document, where the method gives them."""
    seconds: float = 0.0


@dataclass(frozen=True)
class OverlapJob:
    """A share of the training documents to look for held-out 13-grams in."""

    scratch: Scratch
    start: int
    stride: int


def find_grams(job: OverlapJob) -> bytes:
    """Which distinct held-out 13-grams those training documents contain, one bit each."""
    training = job.scratch.texts("training")[job.start :: job.stride]
    return np.packbits(grams_in_training(job.scratch.texts("held_out"), training)).tobytes()


def run_job(job: Job) -> None:
    """Build the job's parts, in a worker."""
    counting = _Counting(job.scratch)
    for part in job.parts:

        def work(directory: Path, part: Part = part) -> Outcome:
            started = time.perf_counter()
            result = asdict(_measure(part, job.scratch, counting))
            result["seconds"] = round(time.perf_counter() - started, 3)
            write_json(directory / RESULT, result)
            return Outcome({"name": part.name, "seconds": result["seconds"]})

        build(
            part.key, Path(part.directory), work, root=Path(job.root), runtime=Runtime(), quiet=True
        )


def read_measured(part: Part) -> Measured:
    """The figures of a finished baseline."""
    return Measured(**read_json(Path(part.directory) / RESULT))


class _Counting:
    """The training text's n-grams, counted once for the whole and the pruned model."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._counts: list[Counts] | None = None

    def counts(self, *, vocab_size: int, order: int) -> list[Counts]:
        if self._counts is None:
            tokens, starts = self._scratch.tokens("training")
            place = places(len(tokens), starts)
            self._counts = count_ngrams(tokens, place, vocab_size=vocab_size, order=order)
        return self._counts


def _measure(part: Part, scratch: Scratch, counting: _Counting) -> Measured:
    if part.name.startswith("ngram"):
        return _ngram(part.settings, scratch, counting)
    held_out = [text.encode() + SEPARATOR for text in scratch.texts("held_out")]
    clean: list[int] = part.settings["clean"]
    rest = sorted(set(range(len(held_out))) - set(clean))
    if part.name == "xz":
        cost = xz_alone([held_out[i] for i in clean], [held_out[i] for i in rest])
        note = "xz -9e on the held-out bytes alone, file header left out"
        return Measured(cost.all * NATS_PER_CODE_BYTE, 0, note, cost.clean * NATS_PER_CODE_BYTE)
    stride = int(part.settings["stride"])
    texts = scratch.texts("training", stride=stride)
    training = b"".join(text.encode() + SEPARATOR for text in texts)
    after = (
        f"after {'the' if stride == 1 else f'1/{stride} of the'} training text; goes on learning"
    )
    if part.name == "xz_primed":
        cost = xz_primed(training, [held_out[i] for i in clean], [held_out[i] for i in rest])
        note = f"xz -9e, everything in its dictionary, {after}"
        nats_clean = cost.clean * NATS_PER_CODE_BYTE
        return Measured(cost.all * NATS_PER_CODE_BYTE, cost.model, note, nats_clean)
    return _ppmd(part.settings, training, held_out, [*clean, *rest], after)


def _ppmd(
    settings: dict[str, Any],
    training: bytes,
    held_out: list[bytes],
    reading: Sequence[int],
    after: str,
) -> Measured:
    order, memory = int(settings["order"]), int(settings["memory_bytes"])
    in_order = [held_out[i] for i in reading]
    costs = ppmd_primed(training, in_order, order=order, memory_bytes=memory)
    documents = [0.0] * len(held_out)
    for i, code in zip(reading, costs.documents, strict=True):
        documents[i] = code * NATS_PER_CODE_BYTE
    note = f"PPMd variant H, order {order}, at most {memory / 1e6:,.0f} MB, {after}"
    return Measured(sum(documents), costs.model, note, documents=documents)


def _ngram(settings: dict[str, Any], scratch: Scratch, counting: _Counting) -> Measured:
    vocab_size, order = int(settings["vocab_size"]), int(settings["order"])
    counts = counting.counts(vocab_size=vocab_size, order=order)
    limit = settings["max_bytes"]
    pruned = prune(counts, vocab_size=vocab_size, max_bytes=limit)
    size = f"{sum(pruned.entries):,} n-grams at {entry_bytes(vocab_size):.2f} bytes, +1 per context"
    if limit is None:
        model = kneser_ney(counts, vocab_size=vocab_size)
        note = f"interpolated modified Kneser-Ney over the same tokens; {size}"
    else:
        model = load_pruned(pruned.data)
        note = f"the same within the model's {limit:,} bytes, most frequent n-grams first; {size}"
    tokens, starts = scratch.tokens("held_out")
    nats = document_nats(model, tokens, starts)
    return Measured(float(nats.sum()), len(pruned.data), note, documents=nats.tolist())
