"""Shards of made-up documents over the 256 bytes, from several sources, for loader tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.tokens import shard_writer
from pipeline.tokens.buffers import ArrayBatch
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.tokenizer import with_our_specials

BYTES = with_our_specials("bytes", PATTERNS["gpt2"], {bytes([i]): i for i in range(256)})
BOS, EOS = BYTES.bos, BYTES.eos
NAMES = ("inputs", "targets", "loss_mask", "segment_ids", "positions")


def copied(batch: ArrayBatch) -> ArrayBatch:
    """A batch that outlives the next one."""
    return {name: np.array(values) for name, values in batch.items()}


def same(a: ArrayBatch, b: ArrayBatch) -> bool:
    """Whether every array is equal."""
    return all(np.array_equal(a[name], b[name]) for name in NAMES)


def mixed_shards(
    directory: Path, lengths: Mapping[str, Sequence[int]], *, seed: int = 0, per_shard: int = 60
) -> list[Path]:
    """Documents of all sources in one shuffled order, in shards of small record batches."""
    rng = np.random.default_rng(seed)
    rows = [
        TokenRow(f"{source}/{i}", source, rng.integers(0, 256, n).astype(np.uint32))
        for source, sizes in lengths.items()
        for i, n in enumerate(sizes)
    ]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    paths = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_writer, "BATCH_TOKENS", 500)
        for start in range(0, len(rows), per_shard):
            paths.append(directory / f"train-{start // per_shard:05d}.arrow")
            write_shard(paths[-1], rows[start : start + per_shard], BYTES)
    return paths


def trained_pairs(batch: ArrayBatch) -> list[tuple[int, int]]:
    """The (input, target) pairs that count."""
    counted = batch["loss_mask"] > 0
    return list(
        zip(batch["inputs"][counted].tolist(), batch["targets"][counted].tolist(), strict=True)
    )
