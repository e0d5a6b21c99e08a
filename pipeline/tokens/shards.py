"""Token shards read as one flat stream, without copying and without an index file.

    train-00000.arrow   Arrow IPC file, uncompressed: tokens list<uint16|uint32>, doc_id, source
    one row             [bos] + ordinary ids of one document + [eos]
    schema metadata     tokenizer_sha256, pattern, vocab_size, bos, eos, documents, tokens, and
                        `batches` = JSON [[documents, tokens, crc32], ...] per record batch

Opening costs one footer per shard; a record batch is mapped when a window first touches it. pyarrow
or `datasets.load_dataset("arrow", data_files=...)` read the same files without this module.
"""

import json
import random
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import TokenShards
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import sha256_bytes

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
UINT16_VOCABULARY = 65_536  # ids 0..65,535 fit two bytes; one more would wrap silently
SAMPLED_BATCHES = 8


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest unsigned type that holds every id below `vocab_size`."""
    return np.uint16 if vocab_size <= UINT16_VOCABULARY else np.uint32


def shard_schema(vocab_size: int) -> pa.Schema:
    """Columns of a shard, without the metadata."""
    tokens = pa.list_(pa.from_numpy_dtype(token_dtype(vocab_size)))
    return pa.schema([("tokens", tokens), ("doc_id", pa.string()), ("source", pa.string())])


def shard_paths(shards: TokenShards, split: Split) -> list[Path]:
    """The shard files of `split` in stream order: parts in order, then by number."""
    return [path for part in shards.part_paths() for path in sorted(part.glob(f"{split}-*.arrow"))]


@dataclass(frozen=True)
class MappedBatch:
    """One record batch: its tokens and where each document begins and ends in them."""

    tokens: Tokens  # (tokens,)
    offsets: npt.NDArray[np.int32]  # (documents + 1,)
    table: pa.RecordBatch
    begins: memoryview
    """`offsets` again, in the form `bisect` is fast on."""


def map_batch(batch: pa.RecordBatch) -> MappedBatch:
    """Views of a record batch's buffers; nothing is copied."""
    rows = batch.column("tokens")
    offsets = view(rows.offsets)
    return MappedBatch(view(rows.values), offsets, batch, offsets.data)


def view(array: pa.Array) -> npt.NDArray[Any]:
    """The numbers of an Arrow array without a copy, read-only; ValueError where some are null.

    `to_numpy` would do, but imports pandas: half a second in each process that only reads tokens.
    """
    if array.null_count:
        raise ValueError(f"{array.null_count} values are null")
    dtype = np.dtype(str(array.type))  # integers are called the same in both
    buffer = array.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


def batch_crc32(batch: pa.RecordBatch) -> int:
    """crc32 over offsets, tokens, document ids and sources of a record batch, in that order."""
    mapped = map_batch(batch)
    crc = zlib.crc32(mapped.tokens.data, zlib.crc32(mapped.offsets.data))
    for name in ("doc_id", "source"):
        strings = batch.column(name)
        _, offsets, data = strings.buffers()
        lengths = np.frombuffer(offsets, np.int32, len(strings) + 1, 4 * strings.offset)
        crc = zlib.crc32(lengths.data, crc)
        if data is not None:
            crc = zlib.crc32(memoryview(data)[: lengths[-1]], crc)
    return crc


@dataclass(frozen=True)
class ShardFile:
    """One open shard and what its metadata says about it."""

    path: Path
    reader: pa.RecordBatchFileReader
    metadata: dict[str, str]
    batches: tuple[tuple[int, int, int], ...]
    """Documents, tokens and crc32 of each record batch."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the file; ArtifactError if it is cut short, damaged or no shard of ours."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            metadata = {k.decode(): v.decode() for k, v in (reader.schema.metadata or {}).items()}
            batches = tuple((int(d), int(t), int(c)) for d, t, c in json.loads(metadata["batches"]))
            expected = shard_schema(int(metadata["vocab_size"]))
        except FileNotFoundError as error:
            raise ArtifactError(f"{path} does not exist; rerun tokenize to rebuild it") from error
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        if not reader.schema.equals(expected):
            raise _damaged(path, f"columns {reader.schema.names} of other names or types")
        if len(batches) != reader.num_record_batches:
            raise _damaged(
                path, f"{reader.num_record_batches} batches, metadata says {len(batches)}"
            )
        return cls(path, reader, metadata, batches)

    def map(self, i: int) -> MappedBatch:
        """Record batch `i`, checked against the counts in the metadata."""
        try:
            batch = self.reader.get_batch(i)
            batch.validate()
            mapped = map_batch(batch)
            counts = (len(mapped.offsets) - 1, len(mapped.tokens))
            consistent = mapped.offsets[0] == 0 and mapped.offsets[-1] == counts[1]
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise _damaged(self.path, f"batch {i}: {type(error).__name__}: {error}") from error
        if counts != self.batches[i][:2] or not consistent:
            raise _damaged(
                self.path, f"batch {i} has {counts} documents and tokens, not {self.batches[i][:2]}"
            )
        return mapped

    def verify(self, i: int) -> None:
        """Compare batch `i` with its stored crc32."""
        try:
            found = batch_crc32(self.map(i).table)
        except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
            raise _damaged(self.path, f"batch {i}: {type(error).__name__}: {error}") from error
        expected = self.batches[i][2]
        if found != expected:
            raise _damaged(
                self.path, f"batch {i}: crc32 expected {expected:08x}, found {found:08x}"
            )


def _damaged(path: Path, detail: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged ({detail}); delete its directory {path.parent} and rerun tokenize"
    )


class Shards:
    """The documents of several shard files as one stream of tokens 0..num_tokens-1."""

    def __init__(self, files: Sequence[ShardFile]) -> None:
        """Lay the files end to end; ArtifactError if they come from different tokenizers."""
        self.files = tuple(files)
        first = self.files[0].metadata
        for file in self.files:
            for key in ("tokenizer_sha256", "vocab_size", "bos", "eos"):
                if file.metadata.get(key) != first.get(key):
                    raise ArtifactError(
                        f"{file.path} has {key}={file.metadata.get(key)}, {self.files[0].path} has "
                        f"{first.get(key)}; use the shards of one tokenize run"
                    )
        self._places = [(file, i) for file in self.files for i in range(len(file.batches))]
        counts = np.array([b[:2] for file in self.files for b in file.batches], np.int64)
        counts = counts.reshape(-1, 2)
        self._document_starts = np.concatenate([[0], np.cumsum(counts[:, 0])])
        self._token_starts = np.concatenate([[0], np.cumsum(counts[:, 1])])
        self._token_starts_list: list[int] = self._token_starts.tolist()
        self._mapped: list[MappedBatch | None] = [None] * len(self._places)
        self.num_documents = int(self._document_starts[-1])
        self.num_tokens = int(self._token_starts[-1])
        self.tokenizer_sha256 = first["tokenizer_sha256"]
        self.vocab_size = int(first["vocab_size"])
        self.bos, self.eos = int(first["bos"]), int(first["eos"])
        self.dtype = token_dtype(self.vocab_size)

    @classmethod
    def open(
        cls, paths: Sequence[Path], *, verify: Literal["none", "sampled", "full"] = "sampled"
    ) -> Self:
        """Map `paths` in order and check record batches: none, a few drawn anew, or all."""
        if not paths:
            raise DataError(
                "there are no token shards of this split; tokenize more text, or raise "
                "tokenize.validation_fraction if it is the validation split"
            )
        shards = cls([ShardFile.open(Path(path)) for path in paths])
        if verify != "none":
            shards.verify(sample=SAMPLED_BATCHES if verify == "sampled" else None)
        return shards

    def verify(self, *, sample: int | None = None) -> None:
        """Check the crc32 of every record batch, or of `sample` random ones, or ArtifactError."""
        places = self._places
        if sample is not None and sample < len(places):
            places = random.SystemRandom().sample(places, sample)
        for file, i in places:
            file.verify(i)

    @property
    def fingerprint(self) -> str:
        """sha256 over tokenizer and the crc32 of every batch in order: which stream this is."""
        crcs = json.dumps([self.tokenizer_sha256, [file.batches for file in self.files]])
        return sha256_bytes(crcs.encode())

    def _batch(self, i: int) -> MappedBatch:
        mapped = self._mapped[i]
        if mapped is None:
            file, place = self._places[i]
            mapped = self._mapped[i] = file.map(place)
        return mapped

    def read(self, start: int, out: npt.NDArray[np.int64]) -> list[int]:
        """Copy tokens from `start` on into `out`; return where in `out` documents begin."""
        count = len(out)
        if start < 0 or start + count > self.num_tokens:
            raise ConfigError(
                f"tokens {start} to {start + count} lie outside 0 to {self.num_tokens}"
            )
        begins: list[int] = []
        i = bisect_right(self._token_starts_list, start) - 1
        filled = 0
        while filled < count:
            batch = self._mapped[i] or self._batch(i)
            places = batch.begins
            begin = start + filled - self._token_starts_list[i]
            piece = batch.tokens[begin : begin + count - filled]
            end = begin + len(piece)
            out[filled : filled + len(piece)] = piece
            low = bisect_left(places, begin)
            high = bisect_left(places, end, low)
            if low < high:
                begins += [place + filled - begin for place in places[low:high]]
            filled += len(piece)
            i += 1
        return begins

    def document(self, i: int) -> tuple[str, str, Tokens]:
        """Document id, source and tokens of document `i`, without copying the tokens."""
        if not 0 <= i < self.num_documents:
            raise ConfigError(f"document {i} lies outside 0 to {self.num_documents - 1}")
        place = int(self._document_starts.searchsorted(i, side="right")) - 1
        batch, row = self._batch(place), i - int(self._document_starts[place])
        tokens = batch.tokens[batch.offsets[row] : batch.offsets[row + 1]]
        columns = (batch.table.column("doc_id"), batch.table.column("source"))
        return columns[0][row].as_py(), columns[1][row].as_py(), tokens

    def document_lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document in order, bos and eos included, (num_documents,)."""
        lengths = [np.diff(self._batch(i).offsets) for i in range(len(self._places))]
        return np.concatenate([np.empty(0, np.int64), *lengths]).astype(np.int64)

    def document_sources(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """The source of each document as a number, (num_documents,), and the names by number."""
        numbers: dict[str, int] = {}
        codes = [np.empty(0, np.int64)]
        for i in range(len(self._places)):
            column = self._batch(i).table.column("source").dictionary_encode()
            known = [numbers.setdefault(n, len(numbers)) for n in column.dictionary.to_pylist()]
            codes.append(np.array(known, np.int64)[view(column.indices)])
        return np.concatenate(codes), list(numbers)
