"""Keep freed memory in the process, so that a CPU training step reuses pages instead of faulting.

Every activation of some megabytes is otherwise returned to the system and asked for again: 20,000
page faults per step of 4,096 tokens at width 192, a tenth or more of the step's time.
"""

import ctypes

# glibc's malloc.h: parameters of mallopt
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MAX_KEPT_BYTES = (1 << 31) - 1  # mallopt takes an int
_STEP_BYTES = 64 << 20  # ask the system for this much more whenever the heap grows


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, from now on, in this process.

    False where the C library has no `mallopt` (macOS, musl): nothing changes there. The process
    holds its peak memory until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_THRESHOLD, 1 << 30),
        (_M_TRIM_THRESHOLD, _MAX_KEPT_BYTES),
        (_M_TOP_PAD, _STEP_BYTES),
    )
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
