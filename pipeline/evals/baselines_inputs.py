"""What the baselines read, laid out in scratch files that worker processes map.

    CleanedCorpus + TokenShards -> training.arrow (text), training.npz (tokens)
    EvalSet + Tokenizer         -> held_out.arrow (text), held_out.npz (tokens, bos first)

Only documents of the training split go in: the baselines see what the model may see.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.artifacts import CleanedCorpus, EvalSet, TokenShards
from pipeline.corpus.cleaned import iter_documents
from pipeline.evals.baselines_ngram import Ints
from pipeline.store.errors import DataError
from pipeline.tokens.shards import Shards, shard_paths
from pipeline.tokens.tokenizer import Tokenizer

Name = Literal["training", "held_out"]
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Scratch:
    """The files, for a worker."""

    directory: str

    def texts(self, name: Name, *, stride: int = 1) -> list[str]:
        """Every `stride`-th document, from the first on."""
        with pa.memory_map(str(Path(self.directory) / f"{name}.arrow")) as file:
            texts: list[str] = pa.ipc.open_file(file).read_all()["text"].to_pylist()
        return texts[::stride]

    def tokens(self, name: Name) -> tuple[Ints, Ints]:
        """Rows `[bos] + ids ...` one after another (N,), and where each begins (documents,)."""
        with np.load(Path(self.directory) / f"{name}.npz") as arrays:
            return arrays["tokens"].astype(np.int64), arrays["starts"].astype(np.int64)


@dataclass(frozen=True)
class Inputs:
    """What is in the scratch files: digests for the parts' keys, and counts."""

    scratch: Scratch
    doc_ids: list[str]
    """Of the held-out documents."""
    document_bytes: list[int]
    """UTF-8 bytes of each held-out document."""
    document_tokens: list[int]
    training_documents: int
    training_bytes: int
    training_tokens: int
    text_digest: str
    held_out_digest: str
    token_digest: str
    vocab_size: int

    @cached_property
    def held_out_bytes(self) -> int:
        """The denominator of every figure."""
        return sum(self.document_bytes)


def prepare_inputs(
    corpus: CleanedCorpus,
    shards: TokenShards,
    eval_set: EvalSet,
    words: Tokenizer,
    directory: Path,
    *,
    max_tokens: int,
) -> Inputs:
    """Write the scratch files; DataError if there is no training or no held-out text."""
    paths = shard_paths(shards, "train")
    ids = {doc_id for path in paths for doc_id in _column(path, "doc_id")}
    text_digest = hashlib.sha256()
    documents = num_bytes = 0
    with _Writer(directory / "training.arrow") as writer:
        for document in iter_documents(corpus):
            if document.doc_id in ids:
                data = document.text.encode()
                text_digest.update(b"%d\n" % len(data) + data)
                documents, num_bytes = documents + 1, num_bytes + len(data)
                writer.add(document.text, len(data))
    if not num_bytes:
        raise DataError(
            f"{shards.ref} holds no training document of {corpus.ref}; tokenize more text"
        )
    token_digest, num_tokens = _write_training_tokens(paths, directory, max_tokens=max_tokens)
    held_ids, held_texts = (
        _column(eval_set.documents_path, "doc_id"),
        _column(eval_set.documents_path, "text"),
    )
    if not held_texts:
        raise DataError(
            f"{eval_set.ref} holds no document; raise eval_set.max_bytes or add documents"
        )
    rows = [np.concatenate([[words.bos], words.encode_array(text)]) for text in held_texts]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    np.savez(
        directory / "held_out.npz", tokens=np.concatenate(rows).astype(np.uint32), starts=starts
    )
    with _Writer(directory / "held_out.arrow") as writer:
        for text in held_texts:
            writer.add(text, len(text))
    sizes = [len(text.encode()) for text in held_texts]
    return Inputs(
        Scratch(str(directory)), held_ids, sizes, [len(row) - 1 for row in rows],
        documents, num_bytes, num_tokens,
        text_digest.hexdigest(), hashlib.sha256(json.dumps(held_texts).encode()).hexdigest(),
        f"{token_digest}-{words.sha256}", words.vocab_size,
    )  # fmt: skip


def _write_training_tokens(
    paths: list[Path], directory: Path, *, max_tokens: int
) -> tuple[str, int]:
    """At most about `max_tokens` tokens of whole rows; their digest and number."""
    shards = Shards.open(paths, verify="none")
    lengths = shards.document_lengths()
    tokens = np.empty(shards.num_tokens, np.int64)
    shards.read(0, tokens)
    stride = max(1, -(-shards.num_tokens // max_tokens))
    if stride > 1:
        kept = np.arange(len(lengths)) % stride == 0
        tokens, lengths = tokens[np.repeat(kept, lengths)], lengths[kept]
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    compact = tokens.astype(np.uint32)
    np.savez(directory / "training.npz", tokens=compact, starts=starts)
    return hashlib.sha256(compact.tobytes() + starts.tobytes()).hexdigest(), len(tokens)


def _column(path: Path, name: str) -> list[str]:
    with pa.memory_map(str(path)) as file:
        values: list[str] = pa.ipc.open_file(file).read_all()[name].to_pylist()
    return values


class _Writer:
    """Texts into an Arrow IPC file, a bounded batch at a time."""

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        schema = pa.schema([("text", pa.large_string())])
        self._writer = pa.ipc.new_file(self._sink, schema)
        self._schema = schema
        self._texts: list[str] = []
        self._size = 0

    def __enter__(self) -> "_Writer":
        return self

    def add(self, text: str, size: int) -> None:
        self._texts.append(text)
        self._size += size
        if self._size >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.table([self._texts], schema=self._schema))
        self._texts, self._size = [], 0

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()
        self._sink.close()
