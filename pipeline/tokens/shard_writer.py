"""Documents to one shard file: rows of token ids in record batches with their checksums.

The format is described in pipeline/tokens/shards.py. Equal documents and tokenizer: equal bytes.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.store.errors import DataError
from pipeline.tokens.shards import batch_crc32, shard_schema, token_dtype
from pipeline.tokens.tokenizer import Tokenizer

BATCH_TOKENS = 1 << 18  # a record batch holds at most this many tokens, or one longer document
MAX_DOCUMENT_TOKENS = (1 << 31) - 1  # offsets of an Arrow list are int32


class TokenRow(NamedTuple):
    """One document as ids, without bos and eos."""

    doc_id: str
    source: str
    ids: npt.NDArray[Any]


def write_shard(path: Path, rows: Sequence[TokenRow], tokenizer: Tokenizer) -> int:
    """Write `rows` as `[bos] + ids + [eos]`, atomically, uncompressed; return their tokens.

    The content is made durable, the folder's entry is not: the manifest that names it does that.
    """
    schema = shard_schema(tokenizer.vocab_size)
    batches = [_record_batch(group, tokenizer, schema) for group in _groups(rows)]
    counts = [(len(b), len(b.column("tokens").values), batch_crc32(b)) for b in batches]
    tokens = sum(count[1] for count in counts)
    metadata = {
        "tokenizer_sha256": tokenizer.sha256,
        "pattern": tokenizer.pattern,
        "vocab_size": str(tokenizer.vocab_size),
        "bos": str(tokenizer.bos),
        "eos": str(tokenizer.eos),
        "documents": str(len(rows)),
        "tokens": str(tokens),
        "batches": json.dumps(counts),
    }
    options = pa.ipc.IpcWriteOptions(compression=None, metadata_version=pa.ipc.MetadataVersion.V5)
    stamped = schema.with_metadata(metadata)
    with _replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, stamped, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
    return tokens


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Like `store.files.replacing` without flushing the folder, which costs as much as the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _groups(rows: Sequence[TokenRow]) -> Iterator[Sequence[TokenRow]]:
    begin = size = 0
    for i, row in enumerate(rows):
        length = len(row.ids) + 2
        if length > MAX_DOCUMENT_TOKENS:
            raise DataError(
                f"document {row.doc_id!r} has {length} tokens, a row holds {MAX_DOCUMENT_TOKENS}; "
                "split it into several documents"
            )
        if i > begin and size + length > BATCH_TOKENS:
            yield rows[begin:i]
            begin, size = i, 0
        size += length
    if begin < len(rows):
        yield rows[begin:]


def _record_batch(
    rows: Sequence[TokenRow], tokenizer: Tokenizer, schema: pa.Schema
) -> pa.RecordBatch:
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row.ids) + 2 for row in rows], out=offsets[1:])
    flat = np.empty(int(offsets[-1]), token_dtype(tokenizer.vocab_size))
    flat[offsets[:-1]] = tokenizer.bos
    flat[offsets[1:] - 1] = tokenizer.eos
    for row, begin in zip(rows, offsets, strict=False):
        flat[begin + 1 : begin + 1 + len(row.ids)] = row.ids
    columns = [
        pa.ListArray.from_arrays(_arrow(offsets.astype(np.int32)), _arrow(flat)),
        _strings([row.doc_id for row in rows]),
        _strings([row.source for row in rows]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


# `pa.array` would do both, but imports pandas: half a second in each worker.
def _arrow(values: npt.NDArray[Any]) -> pa.Array:
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _strings(texts: Sequence[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)
