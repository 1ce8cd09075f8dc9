"""The C library's heap: what one batch frees stays with the process for the next one."""

from __future__ import annotations

import ctypes
import functools

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT = 128 << 20
"""Free bytes at the end of the heap that are not given back."""
MAPPED = 32 << 20
"""Bytes from which an allocation is a mapping of its own, as that of a very long document, and goes back when freed."""


@functools.cache
def keep_freed() -> None:
    """Once per process. By itself glibc gives the arrays of a batch back to the system and asks for them again with the
    next batch, page fault by page fault: a tenth of the time of deduplication. Another C library is left as it is.
    Arrow takes its memory from here, too: a heap of its own would keep what it has freed from everyone else."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, MAPPED)
        mallopt(_TRIM_THRESHOLD, KEPT)
