"""Compressors as language models: what the held-out text costs after the same training text.

    training text -> held-out documents, clean ones first -> bytes of code for each stretch

One pass per method over long texts: the coder's output is counted at the borders.
Unlike our models a compressor goes on learning while it reads the held-out text; that favours it.
"""

import lzma
from collections.abc import Sequence
from dataclasses import dataclass

import pyppmd

SEPARATOR = b"\n\n"  # ends every document; its cost is counted, its bytes are not
_PIECE = 1 << 20
_EXACT_BYTES = 4 << 20  # up to here the text is compressed three times instead of once
# How far liblzma's LZMA1 encoder lags behind its input: the optimal parser's window of 4,096
# positions plus one, and the longest match of 273 (LOOP_INPUT_MAX, MATCH_LEN_MAX in liblzma).
XZ_LAG = 4096 + 273 + 1


@dataclass(frozen=True)
class Cost:
    """Bytes of code for the held-out text."""

    clean: float
    """For the clean documents, which are read first."""
    all: float
    """For all documents."""
    model: int
    """Bytes of the training text in the same code: what must be kept to make the state again."""


def xz_alone(clean: Sequence[bytes], rest: Sequence[bytes]) -> Cost:
    """`xz -9e` on the held-out bytes alone, the container's header and checksum left out."""
    of_clean = _finished_lzma(b"".join(clean)) if clean else 0
    return Cost(float(of_clean), float(_finished_lzma(b"".join([*clean, *rest]))), 0)


def xz_primed(training: bytes, clean: Sequence[bytes], rest: Sequence[bytes]) -> Cost:
    """xz's coder at `-9e`, its dictionary large enough for everything, primed with `training`.

    Counts are exact up to 4 MB. Beyond, all borders are read XZ_LAG bytes later, when the encoder
    has just passed them; it may be ahead by one of its steps, at most 4 kB of text.
    """
    first, second = b"".join(clean), b"".join(rest)
    if len(training) + len(first) + len(second) <= _EXACT_BYTES:
        stretches = (training, training + first, training + first + second)
        sizes = [_finished_lzma(stretch) if stretch else 0 for stretch in stretches]
        return Cost(float(sizes[1] - sizes[0]), float(sizes[2] - sizes[0]), sizes[0])
    return _xz_in_one_pass(training, first, second)


def _xz_in_one_pass(training: bytes, first: bytes, second: bytes) -> Cost:
    stream = training + first + second
    tail = (first + second)[-XZ_LAG:].ljust(XZ_LAG)  # pushes the last border out of the encoder
    coder = lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=_filters(len(stream) + XZ_LAG))
    emitted = position = 0
    marks = []
    data = memoryview(stream + tail)
    borders = [len(training), len(training) + len(first), len(stream)]
    for border in borders:
        while position < border + XZ_LAG:
            piece = data[position : min(position + _PIECE, border + XZ_LAG)]
            emitted += _emitted(coder, piece)
            position += len(piece)
        marks.append(emitted)
    return Cost(float(marks[1] - marks[0]), float(marks[2] - marks[0]), marks[0])


@dataclass(frozen=True)
class DocumentCosts:
    """Bytes of code per held-out document, in the order they were read."""

    documents: list[int]
    model: int


def ppmd_primed(
    training: bytes, documents: Sequence[bytes], *, order: int, memory_bytes: int
) -> DocumentCosts:
    """PPMd (variant H, as in 7-Zip) of `order`, primed with `training`.

    Its range coder holds back five bytes at most, so each document is exact to that. When the model
    outgrows `memory_bytes` PPMd forgets everything and starts over.
    """
    coder = pyppmd.Ppmd7Encoder(order, memory_bytes)
    primed = len(coder.encode(training)) if training else 0
    costs = [len(coder.encode(document)) if document else 0 for document in documents]
    if costs:
        costs[-1] += len(coder.flush())
    return DocumentCosts(costs, primed)


def _emitted(coder: lzma.LZMACompressor, piece: memoryview) -> int:
    """Bytes of code for `piece`, which is not empty.

    liblzma may swallow a piece whole and encode it when more arrives; a last byte on its own is
    only taken when everything before it has been encoded.
    """
    return len(coder.compress(piece[:-1])) + len(coder.compress(piece[-1:]))


def _finished_lzma(data: bytes) -> int:
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(len(data))))


def _filters(num_bytes: int) -> list[dict[str, int]]:
    size = min(max(num_bytes, 1 << 12), 1536 << 20)  # liblzma's limits
    return [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
