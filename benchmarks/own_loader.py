"""Our batches of 8 rows of 1,024 tokens, as one command: the side the peers are held against.

    python -m benchmarks.own_loader SHARDS BATCHES     JSON: microseconds per batch, waiting, memory

Shuffled globally, with loss mask, document numbers and positions, ending in torch tensors.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import AnyBatching, CutWindows, PackedDocuments, SingleDocuments
from pipeline.tokens.buffers import ArrayBatch
from pipeline.tokens.prefetch import Prefetched
from pipeline.training.data import to_batch

B, T = 8, 1024
REPEATS = 5
TOKENS_PER_SECOND = 1_000_000  # of the device that is waited for
WAITING_STEPS = 500
MODES: dict[str, AnyBatching] = {
    "windows": CutWindows(), "packed": PackedDocuments(), "documents": SingleDocuments()
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    folder, count = list(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(1)
    paths = sorted(Path(folder).glob("*.arrow"))
    found: dict[str, object] = {}
    for mode, batching in MODES.items():
        started = time.perf_counter()
        batches = WindowBatches(paths, context_length=T, rows=B, seed=1, batching=batching)
        found[f"{mode} open"] = time.perf_counter() - started
        found[mode] = _microseconds(batches, int(count))
    batches = WindowBatches(paths, context_length=T, rows=B, seed=1)
    before = _own_memory()
    _microseconds(batches, int(count))
    found["memory"] = [before, _own_memory()]
    found["waiting"] = _waiting(batches)
    print(json.dumps(found))
    return 0


def _microseconds(batches: WindowBatches, count: int) -> list[float]:
    """Per batch, REPEATS times; other samples each time."""
    taken = []
    for step in range(50):
        to_batch(batches.batch(step))
    for repeat in range(REPEATS):
        started = time.perf_counter()
        for step in range(repeat * count, (repeat + 1) * count):
            to_batch(batches.batch(step))
        taken.append((time.perf_counter() - started) / count * 1e6)
    return taken


def _waiting(batches: WindowBatches) -> float:
    """Share of the time in which a device of TOKENS_PER_SECOND waits for its next batch."""
    step_seconds = B * T / TOKENS_PER_SECOND
    waited = 0.0
    with Prefetched(batches) as ahead:
        for _ in range(20):
            next(ahead)
        started = time.perf_counter()
        for _ in range(WAITING_STEPS):
            asked = time.perf_counter()
            batch: ArrayBatch = next(ahead)
            to_batch(batch)
            waited += time.perf_counter() - asked
            time.sleep(step_seconds)  # the device works; the thread makes the next batches
        return waited / (time.perf_counter() - started)


def _own_memory() -> int:
    """Bytes of this process that are not pages of the mapped files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
