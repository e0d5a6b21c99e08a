import numpy as np
import pyarrow as pa
import pytest

from pipeline.conversations.packing import PACKED_SCHEMA
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.tokens import shard_writer
from pipeline.tokens.batches import PackedRows, WindowBatches
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.prefetch import Prefetched
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.tokenizer import with_our_specials

NAMES = ("inputs", "targets", "loss_mask", "segment_ids", "positions")
BYTES = with_our_specials("bytes", PATTERNS["gpt2"], {bytes([i]): i for i in range(256)})
BOS, EOS = BYTES.bos, BYTES.eos


def copied(batch):
    return {name: np.array(values) for name, values in batch.items()}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in NAMES)


def shard(path, documents):
    rows = [TokenRow(f"d{i}", "s", np.array(ids, np.uint32)) for i, ids in enumerate(documents)]
    write_shard(path, rows, BYTES)
    return [path]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Documents from none to thousands of tokens, in small record batches over two shards."""
    directory = tmp_path_factory.mktemp("batches")
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_writer, "BATCH_TOKENS", 200)
        lengths = [0, 1, 5, 400, *rng.integers(0, 60, 150), 1500, 0, 0, 2]
        documents = [rng.integers(0, 256, n) for n in lengths]
        first = shard(directory / "train-00000.arrow", documents[:70])
        return first + shard(directory / "train-00001.arrow", documents[70:])


def stream_of(batches):
    out = np.empty(batches.shards.num_tokens, np.int64)
    batches.shards.read(0, out)
    return out


def test_documents_in_a_window_do_not_see_or_predict_each_other(tmp_path):
    paths = shard(tmp_path / "a.arrow", [[1, 2], [], [3, 4, 5, 6, 7, 8]])
    # b 1 2 e | b e | b 3 4 5 6 7 8 e  with T = 6: windows at 0 and 6
    (batch,) = WindowBatches(paths, context_length=6, rows=2).in_order()
    assert batch["inputs"].tolist() == [[BOS, 1, 2, EOS, BOS, EOS], [BOS, 3, 4, 5, 6, 7]]
    assert batch["targets"].tolist() == [[1, 2, EOS, BOS, EOS, BOS], [3, 4, 5, 6, 7, 8]]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 1, 2, 2], [1] * 6]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 4, 5]]
    assert batch["loss_mask"].tolist() == [[1, 1, 1, 0, 1, 0], [1] * 6]
    dtypes = {name: batch[name].dtype for name in NAMES}
    assert dtypes == dict.fromkeys(NAMES, np.dtype(np.int64)) | {"loss_mask": np.dtype(np.float32)}


@pytest.mark.parametrize("T", [1, 2, 7, 64, 333])
def test_fields_follow_from_the_stream(paths, T):
    """Each array recomputed the slow way, from where bos stands."""
    batches = WindowBatches(paths, context_length=T, rows=5, seed=1)
    stream = stream_of(batches)
    for row, batch in enumerate(copied(b) for b in batches.in_order()):
        for r in range(5):
            start = (5 * row + r) * T
            if start + T + 1 > len(stream):
                assert not batch["loss_mask"][r].any() and not batch["segment_ids"][r].any()
                continue
            window = stream[start : start + T + 1]
            opens = window == BOS
            segment = 1 + np.cumsum(opens[:T]) - opens[0]
            begin = [max([0, *np.flatnonzero(opens[: t + 1])]) for t in range(T)]
            assert np.array_equal(batch["inputs"][r], window[:-1])
            assert np.array_equal(batch["targets"][r], window[1:])
            assert np.array_equal(batch["loss_mask"][r], ~opens[1:])
            assert np.array_equal(batch["segment_ids"][r], segment)
            assert np.array_equal(batch["positions"][r], np.arange(T) - begin)


def test_an_epoch_trains_on_every_target_once(paths):
    batches = WindowBatches(paths, context_length=16, rows=1, seed=4)
    n = batches.num_samples
    for epoch in (0, 1):
        rows = [tuple(batches.batch(epoch * n + i)["targets"][0].tolist()) for i in range(n)]
        stream = stream_of(batches)[1 : 1 + n * 16].reshape(n, 16)
        assert sorted(rows) == sorted(map(tuple, stream.tolist()))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_layout_gives_the_same_global_batch(paths, world):
    whole = WindowBatches(paths, context_length=32, rows=8, seed=9)
    ranks = [
        WindowBatches(paths, context_length=32, rows=8, seed=9, rank=r, world=world)
        for r in range(world)
    ]
    for step in (0, 1, 17, 1000):
        expected = copied(whole.batch(step))
        for r, batches in enumerate(ranks):
            assert same(batches.batch(step), {k: v[r::world] for k, v in expected.items()})
    for local in zip(*(b.in_order() for b in ranks), strict=True):
        assert all(len(batch["inputs"]) == 8 // world for batch in local)


@pytest.mark.parametrize("kind", ["windows", "packed"])
def test_resuming_at_any_step_continues_the_same_sequence(paths, tmp_path, kind):
    def fresh():
        if kind == "windows":
            return WindowBatches(paths, context_length=24, rows=6, seed=2)
        return PackedRows(packed(tmp_path / "rows.arrow", 40), rows=6, seed=2)

    running = fresh()
    steps = 3 * running.num_samples // 6  # three epochs, with batches across their ends
    sequence = [copied(running.batch(step)) for step in range(steps)]
    for start in range(0, steps, 7):
        resumed = fresh()
        assert all(same(resumed.batch(s), sequence[s]) for s in range(start, min(start + 3, steps)))


def test_prefetched_batches_are_the_same_and_not_consumed(paths):
    plain = WindowBatches(paths, context_length=20, rows=4, seed=5)
    source = WindowBatches(paths, context_length=20, rows=4, seed=5)
    with Prefetched(source, start=3, depth=2) as ahead:
        for step in range(3, 30):
            assert ahead.step == step
            batch = next(ahead)
            assert same(batch, plain.batch(step))
    assert ahead.step == 30
    with Prefetched(WindowBatches(paths, context_length=20, rows=4), start=2, stop=5) as bounded:
        assert len(list(bounded)) == 3


def test_an_error_in_the_prefetching_thread_is_raised_to_the_reader(paths):
    source = WindowBatches(paths, context_length=20, rows=4)
    source.shards.num_tokens = 5
    with Prefetched(source) as ahead, pytest.raises(ConfigError, match="outside 0 to 5"):
        next(ahead)


def test_validation_reads_every_target_once_in_order_with_the_tail(paths):
    batches = WindowBatches(paths, context_length=50, rows=7, tail="pad")
    stream, targets = stream_of(batches), []
    for batch in batches.in_order():
        targets += batch["targets"][batch["segment_ids"] > 0].tolist()
        assert not batch["loss_mask"][batch["segment_ids"] == 0].any()
    assert targets == stream[1:].tolist()
    assert len(list(batches.in_order(max_batches=2))) == 2
    first, second = ([copied(b) for b in batches.in_order()] for _ in range(2))
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_context_longer_than_the_shards_names_the_limit(tmp_path):
    paths = shard(tmp_path / "a.arrow", [[1, 2, 3]])
    with pytest.raises(DataError, match="context_length=5 needs 6 tokens.* at most 4"):
        WindowBatches(paths, context_length=5, rows=1)
    assert WindowBatches(paths, context_length=4, rows=1).num_samples == 1
    (batch,) = WindowBatches(paths, context_length=9, rows=1, tail="pad").in_order()
    assert batch["loss_mask"].sum() == 4


def test_impossible_layouts_are_refused(paths):
    with pytest.raises(ConfigError, match="6 rows cannot be shared by 4 ranks"):
        WindowBatches(paths, context_length=8, rows=6, world=4)
    with pytest.raises(ConfigError, match="rank=2"):
        WindowBatches(paths, context_length=8, rows=4, rank=2, world=2)


def packed(path, count, width=9):
    """`count` rows of up to `width` tokens; row i is filled with i, in segments 1, 1, 2, 2, ..."""
    columns = {"ids": [], "trainable": [], "segment": []}
    for i in range(count):
        length = width - i % 3
        columns["ids"].append([i] * length)
        columns["trainable"].append([t % 2 for t in range(length)])
        columns["segment"].append([1 + t // 4 for t in range(length)])
    table = pa.table(columns, schema=PACKED_SCHEMA)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path


def test_packed_rows_shift_by_one_and_keep_segments_apart(tmp_path):
    batches = PackedRows(packed(tmp_path / "rows.arrow", 3), rows=3)
    (batch,) = batches.in_order()
    assert batches.context_length == 8
    assert batch["inputs"][2].tolist() == [2] * 7 + [0]
    assert batch["segment_ids"].tolist() == [
        [1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2, 0]
    ]  # fmt: skip
    assert batch["positions"][0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert batch["loss_mask"].tolist() == [
        [1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 0, 0]
    ]  # fmt: skip


def test_packed_rows_visit_each_row_once_per_epoch(tmp_path):
    batches = PackedRows(packed(tmp_path / "rows.arrow", 20), rows=5, seed=1)
    first = [batches.batch(step)["inputs"][:, 0].tolist() for step in range(8)]
    assert sorted(sum(first[:4], [])) == sorted(sum(first[4:], [])) == list(range(20))
    assert first[:4] != first[4:]


def test_packed_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="context_length=8, asked for 5"):
        PackedRows(packed(tmp_path / "rows.arrow", 3), rows=1, context_length=5)
    with pytest.raises(DataError, match="holds no rows"):
        PackedRows(packed(tmp_path / "none.arrow", 0), rows=1)
    (tmp_path / "text.arrow").write_text("words")
    with pytest.raises(ArtifactError, match="text.arrow is no file of packed rows"):
        PackedRows(tmp_path / "text.arrow", rows=1)
