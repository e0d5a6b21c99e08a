import numpy as np
import pytest

from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import AnyBatching, CutWindows, PackedDocuments, SingleDocuments
from pipeline.tokens.edges import document_edges
from tests.tokens.byte_shards import mixed_shards


def test_rows_documents_and_padding_are_stretches_of_their_own() -> None:
    edges = document_edges(np.array([[1, 1, 2, 2], [1, 1, 1, 0]]))
    assert edges.cu_seqlens.tolist() == [0, 2, 4, 7, 8]
    assert edges.cu_seqlens.dtype == np.int32
    assert edges.longest == 3


@pytest.mark.parametrize("batching", [CutWindows(), PackedDocuments(), SingleDocuments()])
def test_a_stretch_is_where_positions_restart(
    tmp_path_factory: pytest.TempPathFactory, batching: AnyBatching
) -> None:
    lengths = {"s": np.random.default_rng(0).integers(0, 90, 80).tolist()}
    paths = mixed_shards(tmp_path_factory.mktemp("edges"), lengths)
    batches = WindowBatches(paths, context_length=40, rows=4, batching=batching)
    for step in range(10):
        batch = batches.batch(step)
        starts = document_edges(batch["segment_ids"]).cu_seqlens[:-1]
        flat, real = batch["positions"].reshape(-1), batch["segment_ids"].reshape(-1) > 0
        assert (flat[starts] == 0).all()
        inside = np.setdiff1d(np.flatnonzero(real), starts)
        assert (flat[inside] > 0).all()
