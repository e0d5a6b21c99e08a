"""Arrow arrays made from their buffers.

`pa.array` imports pandas at its first call, wherever pandas is installed: 0.2 s in every worker for
a type that nobody hands it. What is made here has the same bytes.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MAX_SHORT_BYTES = (1 << 31) - 1  # what 32-bit offsets reach


def number_array(
    values: npt.NDArray[Any], *, missing: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """(N,) numbers or booleans, without a copy where they are contiguous; null where `missing`."""
    if values.dtype.kind not in "biuf" or values.dtype.byteorder == ">":
        return pa.array(values, mask=missing)
    is_valid = None
    if missing is not None and missing.any():
        is_valid = _bitmap(~missing)
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [is_valid, _bitmap(values)])
    data = pa.py_buffer(np.ascontiguousarray(values))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [is_valid, data])


def string_array(values: Sequence[str | None], *, large: bool = False) -> pa.Array:
    """N strings, `large` ones with 64-bit offsets. Raises UnicodeEncodeError for surrogates."""
    pieces = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, pieces), np.int64, count=len(pieces)), out=offsets[1:])
    is_valid = None
    if None in values:
        is_valid = _bitmap(np.fromiter((v is not None for v in values), np.bool_, len(values)))
    data = pa.py_buffer(b"".join(pieces))
    if large:
        buffers = [is_valid, pa.py_buffer(offsets), data]
        return pa.Array.from_buffers(pa.large_string(), len(pieces), buffers)
    if offsets[-1] > MAX_SHORT_BYTES:
        raise OverflowError(f"{offsets[-1]} bytes of short strings in one batch; 2 GiB is the most")
    buffers = [is_valid, pa.py_buffer(offsets.astype(np.int32)), data]
    return pa.Array.from_buffers(pa.string(), len(pieces), buffers)


def string_lists(values: Sequence[Sequence[str]]) -> pa.ListArray:
    """N lists of strings."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, count=len(values)), out=offsets[1:])
    strings = string_array(list(chain.from_iterable(values)))
    buffers = [None, pa.py_buffer(offsets)]
    return pa.Array.from_buffers(pa.list_(pa.string()), len(values), buffers, children=[strings])


def number_lists(values: Sequence[npt.NDArray[Any]], kind: npt.DTypeLike) -> pa.ListArray:
    """N lists of numbers of one kind."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, count=len(values)), out=offsets[1:])
    numbers = number_array(np.concatenate([np.zeros(0, kind), *values], dtype=kind))
    buffers = [None, pa.py_buffer(offsets)]
    of = pa.list_(numbers.type)
    return pa.Array.from_buffers(of, len(values), buffers, children=[numbers])


def bytes_array(values: Sequence[bytes], size: int) -> pa.FixedSizeBinaryArray:
    """N times `size` bytes."""
    assert all(len(value) == size for value in values)
    buffers = [None, pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(size), len(values), buffers)


def _bitmap(values: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))
