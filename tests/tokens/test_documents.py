from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import AnyBatching, CutWindows, PackedDocuments, SingleDocuments
from pipeline.tokens.documents import DocumentRows
from pipeline.tokens.fitting import best_fit, cut_documents, lay_out
from pipeline.tokens.shards import Shards
from tests.tokens.byte_shards import BOS, EOS, mixed_shards, trained_pairs

LENGTHS = {"s": [0, 1, 5, 700, 0, 62, 63, 64, 126, *np.random.default_rng(1).integers(0, 200, 150)]}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return mixed_shards(tmp_path_factory.mktemp("documents"), LENGTHS)


def opened(paths: list[Path], batching: AnyBatching, T: int = 64, rows: int = 5) -> WindowBatches:
    return WindowBatches(paths, context_length=T, rows=rows, batching=batching)


@pytest.mark.parametrize("batching", [PackedDocuments(), SingleDocuments()])
@pytest.mark.parametrize("T", [1, 2, 13, 64, 5000])
def test_every_token_but_a_documents_first_is_a_target_once(
    paths: list[Path], batching: AnyBatching, T: int
) -> None:
    documents = Shards.open(paths)
    expected: Counter[tuple[int, int]] = Counter()
    for i in range(documents.num_documents):
        ids = documents.document(i)[2].tolist()
        expected.update(zip(ids, ids[1:], strict=False))
    found: Counter[tuple[int, int]] = Counter()
    for batch in opened(paths, batching, T).in_order():
        found.update(trained_pairs(batch))
    assert found == expected


@pytest.mark.parametrize("batching", [PackedDocuments(), SingleDocuments()])
def test_segments_are_whole_pieces_with_positions_of_their_own(
    paths: list[Path], batching: AnyBatching
) -> None:
    for batch in opened(paths, batching).in_order():
        for row in range(5):
            segments, inputs = batch["segment_ids"][row], batch["inputs"][row]
            filled = int((segments > 0).sum())
            assert not segments[filled:].any()
            assert not batch["loss_mask"][row, filled:].any()
            for segment in range(1, int(segments.max()) + 1):
                (places,) = np.nonzero(segments == segment)
                assert np.array_equal(places, np.arange(places[0], places[-1] + 1))
                assert np.array_equal(batch["positions"][row, places], np.arange(len(places)))
                # Masked is only the end of a piece: what follows belongs to another document.
                masked = places[batch["loss_mask"][row, places] == 0]
                assert masked.tolist() in ([], [places[-1]])
                if len(masked) and places[-1] < 63:
                    assert inputs[masked[0]] == EOS or segment == segments.max()


def test_short_documents_are_never_cut(paths: list[Path]) -> None:
    """A document that fits a row lies in one: its bos opens a segment, its eos ends it."""
    whole = 0
    for batch in opened(paths, PackedDocuments(), T=256).in_order():
        for tokens, last, segments in zip(
            batch["inputs"], batch["targets"][:, -1], batch["segment_ids"], strict=True
        ):
            row = np.append(tokens, last)
            for segment in range(1, int(segments.max()) + 1):
                (places,) = np.nonzero(segments == segment)
                end = places[-1] + (places[-1] == 255 and row[255] != EOS)
                whole += bool(row[places[0]] == BOS and row[end] == EOS)
    assert whole == sum(length + 2 <= 257 for length in LENGTHS["s"])


def test_packing_leaves_less_than_a_thousandth_empty() -> None:
    """Lengths as on the web (log-normal, median 400 tokens), rows of 1,024."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(6, 1.3, 20_000), 2, 50_000).astype(np.int64)
    pieces = cut_documents(lengths, 1024)
    layout = lay_out(pieces.lengths, 1025, pack=True)
    rows = len(layout.offsets) - 1
    assert 1 - pieces.lengths.sum() / (rows * 1025) <= 0.001
    assert np.array_equal(np.sort(layout.pieces), np.arange(len(pieces.lengths)))


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), max_size=60), capacity=st.integers(40, 70))
def test_best_fit_leaves_no_two_rows_that_would_fit_into_one(
    lengths: list[int], capacity: int
) -> None:
    row_of = best_fit(np.array(lengths, np.int64), capacity)
    loads = np.sort(np.bincount(row_of, weights=lengths)) if lengths else np.zeros(0)
    assert loads.sum() == sum(lengths)
    assert (loads <= capacity).all()
    assert (loads > 0).all()
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


def test_pieces_of_a_long_document_meet_in_one_token() -> None:
    pieces = cut_documents(np.array([3, 11, 2, 5]), 4)
    assert list(zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True)) == [
        (0, 3), (3, 5), (7, 5), (11, 3), (14, 2), (16, 5)
    ]  # fmt: skip


def test_single_documents_say_how_much_is_padding(paths: list[Path]) -> None:
    batches = opened(paths, SingleDocuments())
    assert isinstance(batches.samples, DocumentRows)
    lengths = Shards.open(paths).document_lengths()
    rows = int((-(-(lengths - 1) // 64)).sum())
    assert batches.num_samples == rows
    packed = opened(paths, PackedDocuments())
    assert isinstance(packed.samples, DocumentRows)
    assert 0 <= packed.samples.padding < batches.samples.padding < 1


def test_running_positions_count_through_the_row(paths: list[Path]) -> None:
    running = opened(paths, CutWindows(reset_positions=False))
    reset = opened(paths, CutWindows())
    for a, b in zip(running.in_order(), reset.in_order(), strict=True):
        real = a["segment_ids"] > 0
        ramp = np.broadcast_to(np.arange(64), real.shape)
        assert np.array_equal(a["positions"][real], ramp[real])
        for name in ("inputs", "targets", "loss_mask", "segment_ids"):
            assert np.array_equal(a[name], b[name])
