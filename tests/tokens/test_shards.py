import os
import random
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from pipeline.corpus.cleaned import iter_documents
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import sha256_file
from pipeline.store.manifest import read_manifest
from pipeline.tokens import shard_writer
from pipeline.tokens.describe import BOUNDARY, describe_shards, shard_facts
from pipeline.tokens.merges import format_ranks
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.shards import Shards, shard_paths, token_dtype
from pipeline.tokens.tokenizer import with_our_specials

BYTES = {bytes([i]): i for i in range(256)}
CHECKOUT = Path(__file__).parents[2]


def write(path, lengths, tokenizer, *, first=0):
    rng = np.random.default_rng(first)
    rows = [
        TokenRow(f"d/{first + i}", "s", rng.integers(0, 256, n, dtype=np.uint32))
        for i, n in enumerate(lengths)
    ]
    write_shard(path, rows, tokenizer)
    return rows


@pytest.fixture
def byte_tokenizer():
    return with_our_specials("bytes", PATTERNS["gpt2"], BYTES)


@pytest.fixture
def several(tmp_path, byte_tokenizer, monkeypatch):
    """Three shards of small record batches, and the stream they hold."""
    monkeypatch.setattr(shard_writer, "BATCH_TOKENS", 64)
    paths, stream, begins = [], [], []
    for k, lengths in enumerate([(5, 0, 70, 3, 20), (0,), (40, 30, 1, 1, 1, 200)]):
        paths.append(tmp_path / f"train-{k:05d}.arrow")
        for row in write(paths[-1], lengths, byte_tokenizer, first=10 * k):
            begins.append(len(stream))
            stream += [byte_tokenizer.bos, *row.ids.tolist(), byte_tokenizer.eos]
    return paths, np.array(stream), np.array(begins)


@pytest.mark.parametrize(
    ("size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_ids_are_stored_in_two_bytes_up_to_65536(size, dtype, tmp_path):
    assert np.dtype(token_dtype(size)) == dtype
    ranks = BYTES | {i.to_bytes(3, "big"): i for i in range(256, size - 7)}
    tokenizer = with_our_specials("large", PATTERNS["gpt2"], ranks)
    assert tokenizer.vocab_size == size
    highest = np.array([size - 8, 0], np.uint32)
    write_shard(tmp_path / "train-00000.arrow", [TokenRow("a", "s", highest)], tokenizer)
    shards = Shards.open([tmp_path / "train-00000.arrow"])
    assert shards.document(0)[2].dtype == dtype
    assert shards.document(0)[2].tolist() == [size - 7, size - 8, 0, size - 6]


def test_every_document_is_a_row_between_bos_and_eos(corpus, shards, tokenizer):
    expected = {d.doc_id: d.text for d in iter_documents(corpus)}
    found = {}
    for split in ("train", "validation"):
        opened = Shards.open(shard_paths(shards, split), verify="full")
        for i in range(opened.num_documents):
            doc_id, source, ids = opened.document(i)
            assert source == doc_id.split("/")[0]
            assert (ids[0], ids[-1]) == (tokenizer.bos, tokenizer.eos)
            found[doc_id] = tokenizer.decode(ids[1:-1].tolist())
    assert found == expected
    assert "" in found.values()


def test_pyarrow_and_datasets_read_the_shards(shards, train_paths, tokenizer, tmp_path):
    table = pa.concat_tables(
        pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in train_paths
    )
    assert table.schema.field("tokens").type == pa.list_(pa.uint16())
    rows = datasets.load_dataset(
        "arrow", data_files=[str(p) for p in train_paths], split="train", cache_dir=str(tmp_path)
    )
    assert len(rows) == table.num_rows == shards.facts["train_documents"]
    assert rows[0]["tokens"] == table.column("tokens")[0].as_py()
    assert rows[-1]["doc_id"] == table.column("doc_id")[-1].as_py()


def test_schema_says_which_tokenizer_made_it(train_paths, tokenizer):
    metadata = pa.ipc.open_file(pa.memory_map(str(train_paths[0]))).schema.metadata
    assert metadata[b"tokenizer_sha256"].decode() == tokenizer.sha256
    assert metadata[b"pattern"].decode() == PATTERNS["cl100k"]
    assert (metadata[b"vocab_size"], metadata[b"bos"], metadata[b"eos"]) == (b"600", b"593", b"594")


def test_any_window_equals_that_part_of_the_stream(several):
    paths, stream, begins = several
    shards = Shards.open(paths, verify="full")
    assert shards.num_tokens == len(stream)
    assert np.array_equal(np.cumsum(shards.document_lengths())[:-1], begins[1:])
    rng = random.Random(1)
    for _ in range(500):
        start = rng.randrange(len(stream) + 1)
        count = rng.randrange(len(stream) - start + 1)
        out = np.full(count, -1, np.int64)
        inside = shards.read(start, out)
        assert np.array_equal(out, stream[start : start + count])
        assert inside == [b - start for b in begins.tolist() if start <= b < start + count]
    with pytest.raises(ConfigError, match="outside"):
        shards.read(len(stream) - 3, np.empty(4, np.int64))


def test_tokens_are_mapped_not_copied(several):
    before = pa.total_allocated_bytes()
    shards = Shards.open(several[0], verify="none")
    tokens = shards.document(2)[2]
    assert not tokens.flags.owndata
    assert not tokens.flags.writeable
    assert pa.total_allocated_bytes() - before < 10_000


def test_any_flipped_byte_of_the_tokens_is_found_by_file_and_batch(several):
    paths, _, _ = several
    original = paths[2].read_bytes()
    mapped = pa.ipc.open_file(pa.memory_map(str(paths[2])))
    assert mapped.num_record_batches > 2
    last = mapped.get_batch(1).column("tokens").values.to_numpy().tobytes()
    place = original.index(last) + 7
    paths[2].write_bytes(original[:place] + bytes([original[place] ^ 4]) + original[place + 1 :])
    with pytest.raises(ArtifactError, match=r"train-00002.arrow is damaged \(batch 1: crc32"):
        Shards.open(paths, verify="full")


def test_no_flipped_byte_crashes_or_changes_what_is_read(several):
    """Whatever byte flips: an ArtifactError, or (padding, unused flags) the same content."""
    paths, stream, _ = several
    original = paths[0].read_bytes()
    rng = random.Random(2)
    for place in rng.sample(range(len(original)), 150):
        damaged = bytearray(original)
        damaged[place] ^= 1 << rng.randrange(8)
        paths[0].unlink()
        paths[0].write_bytes(damaged)
        try:
            shards = Shards.open(paths, verify="full")
        except ArtifactError as error:
            assert "train-0000" in str(error)
            continue
        out = np.empty(shards.num_tokens, np.int64)
        shards.read(0, out)
        assert np.array_equal(out, stream), place


@pytest.mark.parametrize("kept", [0, 1, 8, 0.3, 0.7, 0.99, -1])
def test_truncated_shard_is_named(several, kept):
    path = several[0][1]
    size = path.stat().st_size
    os.truncate(path, int(size * kept) if isinstance(kept, float) else kept % size)
    with pytest.raises(ArtifactError, match=r"train-00001.arrow is damaged"):
        Shards.open(several[0])


def test_missing_and_foreign_files_are_named(several, tmp_path):
    with pytest.raises(ArtifactError, match="nowhere.arrow does not exist"):
        Shards.open([tmp_path / "nowhere.arrow"])
    (tmp_path / "text.arrow").write_text("no arrow at all, only words")
    with pytest.raises(ArtifactError, match="text.arrow is damaged"):
        Shards.open([tmp_path / "text.arrow"])
    with pytest.raises(DataError, match="validation_fraction"):
        Shards.open([])


def test_shards_of_two_tokenizers_are_not_mixed(several, tmp_path):
    other = with_our_specials("other", PATTERNS["cl100k"], BYTES)
    write(tmp_path / "other.arrow", (3,), other)
    with pytest.raises(ArtifactError, match="tokenizer_sha256"):
        Shards.open([*several[0], tmp_path / "other.arrow"])


def test_shard_bytes_are_those_of_this_version(tmp_path, byte_tokenizer):
    """A change here needs a new VERSION in pipeline/stages/tokenize_corpus.py."""
    assert format_ranks(byte_tokenizer.ranks).startswith(b"AA== 0\nAQ== 1\n")
    write(tmp_path / "train-00000.arrow", (5, 0, 300), byte_tokenizer)
    found = sha256_file(tmp_path / "train-00000.arrow")
    assert found == "ab493c29caebe727daf420e150ae4cd5b6c16c4e176771d034fcb707c9bb5848"


def test_description_counts_and_shows_tokens(shards, tokenizer):
    facts = shard_facts(shards, samples=2)
    assert facts["tokens"] == shards.facts["train_tokens"]
    assert sum(row["documents"] for row in facts["histogram"]) == facts["documents"]
    assert sum(row["tokens"] for row in facts["histogram"]) == facts["tokens"]
    assert all(s["text"].startswith(f"<|bos|>{BOUNDARY}") for s in facts["samples"])
    shown = describe_shards(shards, samples=1)
    for line in ("tokens per document", "validation: ", "tokens per Han character", "encoded by"):
        assert line in shown
    assert read_manifest(shards.path).facts["tokenizer_sha256"] == tokenizer.sha256


def test_writing_and_reading_shards_does_without_pandas(tmp_path):
    """pyarrow would import it, half a second in each worker, for `pa.array` and `to_numpy`."""
    code = f"""
import sys
from pathlib import Path
import numpy as np
from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.shard_writer import TokenRow, write_shard
from tests.tokens.byte_shards import BYTES
path = Path({str(tmp_path / "train-00000.arrow")!r})
write_shard(path, [TokenRow("d", "s", np.arange(99, dtype=np.uint32))], BYTES)
WindowBatches([path], context_length=8, rows=2).batch(0)
print("pandas" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert found.stdout.strip() == "False"
