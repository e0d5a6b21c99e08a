"""How much memory a run has used, and what to do when there is no more of it."""

import resource
import sys

import torch

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def memory_in_use(device: torch.device) -> int:
    """Largest memory so far, bytes: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: Python's, torch's on a CPU or on a GPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def free_cached(device: torch.device) -> None:
    """Give a GPU's cached blocks back, so that a smaller attempt finds them in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
