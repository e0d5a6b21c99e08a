"""One sequence of global batches, whatever reads it and however often it is interrupted."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pipeline.store.errors import ConfigError
from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import (
    AnyBatching,
    CutWindows,
    Mixture,
    PackedDocuments,
    SingleDocuments,
)
from pipeline.tokens.buffers import ArrayBatch
from pipeline.tokens.position import LoaderState
from pipeline.tokens.prefetch import Prefetched
from tests.tokens.byte_shards import NAMES, copied, mixed_shards, same

ROWS, T = 24, 32
MIXED = Mixture(("web", "code"), (0.6, 0.4))
BATCHINGS: tuple[AnyBatching, ...] = (
    CutWindows(), CutWindows(mixture=MIXED), PackedDocuments(), SingleDocuments(),
    PackedDocuments(mixture=MIXED),
)  # fmt: skip
LAYOUTS = list(product((1, 2, 3, 4), (1, 2)))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    lengths = np.random.default_rng(3).integers(0, 90, 300)
    sources = {"web": lengths[:200].tolist(), "code": lengths[200:].tolist()}
    return mixed_shards(tmp_path_factory.mktemp("resume"), sources)


def opened(paths: list[Path], batching: AnyBatching, **changes: object) -> WindowBatches:
    settings: dict[str, object] = {"context_length": T, "rows": ROWS, "seed": 11} | changes
    return WindowBatches(paths, batching=batching, **settings)  # type: ignore[arg-type]


def micro_batches(batch: ArrayBatch, rows: int) -> Iterator[ArrayBatch]:
    """What a rank feeds to its device, `rows` at a time."""
    for start in range(0, len(batch["inputs"]), rows):
        yield {name: batch[name][start : start + rows] for name in NAMES}


def global_batches(
    paths: list[Path],
    batching: AnyBatching,
    *,
    world: int,
    micro_rows: int,
    saved: LoaderState | None,
    count: int,
) -> tuple[list[ArrayBatch], LoaderState]:
    """`count` global batches put together from the micro-batches of all ranks, read ahead."""
    ranks = [
        Prefetched(opened(paths, batching, rank=rank, world=world, resume_from=saved), depth=3)
        for rank in range(world)
    ]
    made = []
    for _ in range(count):
        whole = {
            name: np.zeros((ROWS, T), np.float32 if name == "loss_mask" else np.int64)
            for name in NAMES
        }
        for rank, batches in enumerate(ranks):
            pieces = list(micro_batches(copied(next(batches)), micro_rows))
            for name in NAMES:
                whole[name][rank::world] = np.concatenate([piece[name] for piece in pieces])
        made.append(whole)
    state = ranks[0].state
    assert all(batches.state == state for batches in ranks)
    for batches in ranks:
        batches.close()
    return made, LoaderState.from_json(json.loads(json.dumps(state.to_json())))


@pytest.mark.parametrize("batching", BATCHINGS, ids=lambda b: f"{b.kind}{'+mix' * bool(b.mixture)}")
def test_all_layouts_and_two_resumptions_in_one_epoch_give_the_same_global_batches(
    paths: list[Path], batching: AnyBatching
) -> None:
    """{1, 2, 3, 4} ranks x {1, 2} rows at a time, each followed by two others in the same epoch."""
    reference = opened(paths, batching)
    assert reference.num_samples > 9 * ROWS, "the two interruptions must lie within one epoch"
    expected = [copied(reference.batch(step)) for step in range(9)]
    for i, (world, micro_rows) in enumerate(LAYOUTS):
        found: list[ArrayBatch] = []
        saved: LoaderState | None = None
        for turn, count in enumerate((4, 3, 2)):
            other_world, other_rows = LAYOUTS[(i + 3 * turn) % len(LAYOUTS)]
            made, saved = global_batches(
                paths, batching, world=other_world, micro_rows=other_rows, saved=saved, count=count
            )
            found += made
        assert saved is not None
        assert saved.samples_seen == 9 * ROWS
        assert all(same(a, b) for a, b in zip(found, expected, strict=True)), (world, micro_rows)


def test_the_batch_size_may_change_on_the_way(paths: list[Path]) -> None:
    """The sequence is one of samples: 24 + 24 rows, then 8 at a time, are the same 72."""
    whole = opened(paths, CutWindows(), rows=72).batch(0)["inputs"]
    first = opened(paths, CutWindows())
    rows = [first.batch(0)["inputs"].copy(), first.batch(1)["inputs"].copy()]
    second = opened(paths, CutWindows(), rows=8, resume_from=first.state(2))
    rows += [second.batch(step)["inputs"].copy() for step in range(3)]
    assert np.array_equal(np.concatenate(rows), whole)
    assert second.state(3).samples_seen == 72


def test_a_state_is_small_and_counts_only_what_was_used(paths: list[Path]) -> None:
    with Prefetched(opened(paths, CutWindows(mixture=MIXED)), depth=4) as batches:
        next(batches)
        next(batches)
        state = batches.state
    assert state.samples_seen == 2 * ROWS
    assert len(json.dumps(state.to_json())) <= 220


def test_a_changed_length_corpus_or_seed_is_refused_with_a_table(
    paths: list[Path], tmp_path: Path
) -> None:
    state = opened(paths, CutWindows()).state(5)
    with pytest.raises(ConfigError) as caught:
        opened(paths, PackedDocuments(), context_length=64, seed=12, resume_from=state)
    lines = str(caught.value).splitlines()
    assert lines[0] == "position 120 is of another sequence of samples:"
    assert [line.split() for line in lines[1:5]] == [
        ["saved", "now"], ["context_length", "32", "64"], ["batching", "windows", "packed"],
        ["seed", "11", "12"],
    ]  # fmt: skip
    other = mixed_shards(tmp_path, {"web": [50] * 60}, seed=1)
    with pytest.raises(ConfigError, match=r"corpus +[0-9a-f]{16} +[0-9a-f]{16}\n"):
        opened(other, CutWindows(), resume_from=state)


@pytest.mark.parametrize(
    "change", [{"samples_seen": -1}, {"samples_seen": "3"}, {"extra": 1}, {"seed": None}]
)
def test_what_is_no_state_is_refused(paths: list[Path], change: dict[str, object]) -> None:
    saved = opened(paths, CutWindows()).state(1).to_json()
    with pytest.raises(ConfigError, match="no state of a loader"):
        LoaderState.from_json(saved | change)
