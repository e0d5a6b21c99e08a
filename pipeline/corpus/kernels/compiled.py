"""How kernels are compiled: by numba, kept on disk, without the interpreter's lock.

`leaf` functions are called from Python, `inner` ones from kernels only. Neither allocates: what
they write to is handed in. Without its runtime numba leaves out the reference counts of array
arguments, and counting them costs a small function ten times its own work (splitting words:
22 -> 100 MB/s).

Hot loops run over unsigned places: a signed one may count from an array's end, which numba asks
about at each byte (C4's lines: 174 -> 228 MB/s). Never mix the two in a sum: that gives a float.
An `inner` function is compiled once more for an argument that is a literal: hand it np.int64(0).

A `kernel` is a function elsewhere that has numba's runtime and may allocate.
"""

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy.typing as npt
from numba.core import entrypoints
from numba.core.registry import cpu_target
from numba.np import linalg

Array = npt.NDArray[Any]
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
_LOADING = threading.RLock()
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

inner: Callable[..., Any] = numba.njit(**_OPTIONS, **_NO_WRAPPERS)
"""Compiled into the kernels that call it, not kept by itself."""


def leaf(function: Callable[..., Any]) -> Any:
    """A kernel; compiled again when any file of this folder has changed."""
    compiled = _compiled(function, _OPTIONS)
    # Numba looks at the kernel's own file only, and would keep stale code of the functions that
    # the kernel calls: after an update, or while one is being written.
    kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = (kept._source_stamp, _sources())
    return compiled


def kernel(function: Callable[..., Any]) -> Any:
    """A function that may allocate; compiled again when its own file has changed."""
    return _compiled(function, {"nogil": True})


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the source's folder nor the user's cache can be written
        compiled = numba.njit(**options)(function)
    compile_for = compiled._compile_for_args

    def compile_alone(*args: Any) -> Any:
        with _alone():
            return compile_for(*args)

    compiled._compile_for_args = compile_alone
    return compiled


@contextmanager
def _alone() -> Iterator[None]:
    """Inside, numba loads nothing that only other users of it need; it is a quarter of our start.

    That is what installed packages add to numba, and scipy, which is looked for at the first call
    and found again when linear algebra is compiled. Neither is missing for anybody else.
    """
    with _LOADING:
        asked, linalg.ensure_blas = linalg.ensure_blas, _no_blas
        added, entrypoints.init_all = entrypoints.init_all, _add_nothing
        try:
            yield
        finally:
            linalg.ensure_blas, entrypoints.init_all = asked, added


def load_numba() -> None:
    """Let numba load at once what the first call of a kernel would make it load."""
    with _alone():
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()


def _no_blas() -> None:
    raise ImportError("not looked for")


def _add_nothing() -> None:
    pass


@functools.cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
