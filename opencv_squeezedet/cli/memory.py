"""What becomes of the memory that a training frees and takes again at each step."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_memory() -> bool:
    """Let the process keep the memory that it frees, and return whether the C library can do that (glibc's can).

    A step frees blobs of hundreds of megabytes and takes them again. By default glibc gives each back to the system at once,
    which must then clear the pages anew: up to a fifth of the time of a training on a processor.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena, because those of other threads are not large enough; no mappings of their own for large blocks; no trimming.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
