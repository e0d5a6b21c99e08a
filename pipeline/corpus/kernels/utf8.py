"""UTF-8 inside kernels: one code point out of bytes, and arrays as kernels want them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import Array, inner


@inner
def decode(data: Array, at: int) -> Any:
    """(code point, bytes it takes) at data[at], which starts a character of valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[at + 1] & 0x3F), 2
    if first < 0xF0:
        middle = np.int64(data[at + 1] & 0x3F) << 6
        return (first & 0x0F) << 12 | middle | (data[at + 2] & 0x3F), 3
    middle = np.int64(data[at + 1] & 0x3F) << 12 | np.int64(data[at + 2] & 0x3F) << 6
    return (first & 0x07) << 18 | middle | (data[at + 3] & 0x3F), 4


def readonly(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written: kernels are compiled for one kind of array only."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
