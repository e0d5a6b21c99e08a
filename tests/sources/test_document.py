import numpy as np
import pytest

from pipeline.corpus.document import DOCUMENT_SCHEMA, TextBatch, iter_batches
from pipeline.store.errors import ArtifactError


def test_text_batch_bytes_and_offsets_describe_each_text():
    batch = TextBatch.of(["héllo wörld", "", "x\ny"])
    found = [bytes(batch.data[a:b]) for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)]
    assert found == [text.encode() for text in batch.texts]
    assert batch.num_bytes.tolist() == [13, 0, 3]
    assert batch.num_chars.tolist() == [11, 0, 3]


def test_text_batch_slice_sees_only_its_rows_without_copying():
    whole = TextBatch.of(["aa", "bb", "cc"])
    part = whole.slice(1, 2)
    assert part.texts == ["bb", "cc"]
    assert bytes(part.data[part.offsets[0] : part.offsets[-1]]) == b"bbcc"
    assert np.shares_memory(part.data, whole.data)


def test_text_batch_words_and_lines_are_computed_once():
    batch = TextBatch.of(["a b\nc", ""])
    assert batch.words == [["a", "b", "c"], []]
    assert batch.lines == [["a b", "c"], [""]]
    assert batch.words is batch.words
    assert batch.texts is batch.texts


def test_text_batch_rewrite_keeps_ids_and_schema():
    batch = TextBatch.of(["a", "b"], ["one", "two"]).with_texts(["A", "B"])
    assert (batch.doc_ids, batch.texts) == (["one", "two"], ["A", "B"])
    assert batch.table.schema.equals(DOCUMENT_SCHEMA)


def test_text_batch_filtered_keeps_order():
    batch = TextBatch.of(["a", "b", "c"]).filtered(np.array([True, False, True]))
    assert batch.texts == ["a", "c"]


def test_empty_text_batch_has_no_rows_and_one_offset():
    batch = TextBatch.of([])
    assert len(batch) == 0
    assert batch.offsets.tolist() == [0]
    assert batch.data.size == 0
    assert batch.texts == []


def test_iter_batches_names_a_damaged_file(tmp_path):
    path = tmp_path / "documents.arrow"
    path.write_bytes(b"not arrow at all")
    with pytest.raises(ArtifactError, match="not a readable Arrow IPC file"):
        list(iter_batches(path))
