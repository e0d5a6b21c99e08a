"""How kernels are compiled: by numba, cached on disk, without the interpreter's lock."""

from collections.abc import Callable
from typing import Any

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]
_LEAF: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}

leaf: Callable[..., Any] = numba.njit(**_LEAF)
"""A function that allocates nothing: what it writes to is handed in.

Without its runtime numba leaves out the reference counts of array arguments; counting them costs a
small function ten times its own work (splitting words: 22 -> 100 MB/s).
"""
inlined: Callable[..., Any] = numba.njit(cache=True, nogil=True, inline="always")
"""A few operations that are copied into the caller."""
