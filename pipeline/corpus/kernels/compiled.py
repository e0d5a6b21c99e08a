"""How kernels are compiled: by numba, kept on disk, without the interpreter's lock.

`leaf` functions are called from Python, `inner` ones from kernels only. Neither allocates: what
they write to is handed in. Without its runtime numba leaves out the reference counts of array
arguments, and counting them costs a small function ten times its own work (splitting words:
22 -> 100 MB/s).

Hot loops run over unsigned places: a signed one may count from an array's end, which numba asks
about at each byte (C4's lines: 174 -> 228 MB/s). Never mix the two in a sum: that gives a float.
An `inner` function is compiled once more for an argument that is a literal: hand it np.int64(0).
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

inner: Callable[..., Any] = numba.njit(**_OPTIONS, **_NO_WRAPPERS)
"""Compiled into the kernels that call it, not kept by itself."""


def leaf(function: Callable[..., Any]) -> Any:
    """A kernel; compiled again when any file of this folder has changed."""
    try:
        compiled = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the source's folder nor the user's cache can be written
        return numba.njit(**_OPTIONS)(function)
    # Numba looks at the kernel's own file only, and would keep stale code of the functions that
    # the kernel calls: after an update, or while one is being written.
    kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = (kept._source_stamp, _sources())
    return compiled


@functools.cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
