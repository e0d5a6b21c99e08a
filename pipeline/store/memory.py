"""A ceiling on what this process may newly allocate while it decodes what others wrote.

for batch in within(reader): ...  ->  MemoryError instead of the kernel's out-of-memory killer
"""

import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

DECODED_BYTES = 4 << 30  # guess: a batch of honest files takes megabytes, rarely a gigabyte
Item = TypeVar("Item")
STATUS = Path("/proc/self/status")
_lock = threading.Lock()
_ceilings: list[int] = []  # of the blocks that are open now, in all threads
_before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)  # the limit outside all of them


@contextmanager
def at_most(num_bytes: int) -> Iterator[None]:
    """No more than about `num_bytes` of private memory beyond what is taken now.

    The limit is the process's, so that blocks of several threads share the highest of theirs. What
    cannot be allocated raises MemoryError (Arrow's is a subclass). A no-op off Linux.
    """
    taken = _private_bytes()
    if taken is None:
        yield
        return
    ceiling = taken + num_bytes
    _change(lambda: _ceilings.append(ceiling))
    try:
        yield
    finally:
        _change(lambda: _ceilings.remove(ceiling))


def within(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each made under a ceiling of DECODED_BYTES; what is done with them is not."""
    iterator = iter(items)
    while True:
        try:
            with at_most(DECODED_BYTES):
                item = next(iterator)
        except StopIteration:
            return
        yield item


def _change(alter: Callable[[], None]) -> None:
    """Alter the open ceilings, and set the limit that follows from them."""
    global _before
    with _lock:
        if not _ceilings:
            _before = resource.getrlimit(resource.RLIMIT_DATA)
        alter()
        soft, hard = _before
        if _ceilings:
            soft = max(_ceilings) if soft == resource.RLIM_INFINITY else min(soft, max(_ceilings))
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _private_bytes() -> int | None:
    """What RLIMIT_DATA counts: writable private mappings, the stack apart (proc(5), VmData)."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmData:")), None)
    return None if kilobytes is None else int(kilobytes) << 10
