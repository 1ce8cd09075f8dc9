"""Files written past the page cache.

What is written once, flushed, and not read again soon gains nothing from the cache, and pays for it: pages are found,
filled, and written out a second time. Past it, a processor has next to nothing to do (measured: a twentieth), and the
flush that follows has nothing left to wait for.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
from typing import Any

BLOCK = 4 << 20
"""Bytes that are written at once; a multiple of what any disk asks for."""

_DIRECT = getattr(os, "O_DIRECT", 0)


class DirectFile(io.RawIOBase):
    """Takes over an open, empty file. Whole blocks go past the cache where the file system can do that; what is left at
    the end goes through it, as everything does elsewhere."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle
        self._room = mmap.mmap(-1, BLOCK)  # begins at a page's begin, as direct writing asks for
        self._used = 0
        self._set_direct(bool(_DIRECT))

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), BLOCK):
            self._fill(view[start : start + BLOCK])
        return len(view)

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self.closed:
            return
        try:
            if self._used:
                self._set_direct(False)
                self._put(memoryview(self._room)[: self._used])
        finally:
            super().close()
            os.close(self._handle)

    def _fill(self, view: memoryview) -> None:
        """Take up to a block."""
        first = view[: BLOCK - self._used]
        self._room[self._used : self._used + len(first)] = first
        self._used += len(first)
        if self._used == BLOCK:
            self._put(memoryview(self._room))
            rest = view[len(first) :]
            self._room[: len(rest)] = rest
            self._used = len(rest)

    def _put(self, view: memoryview) -> None:
        while view:
            try:
                view = view[os.write(self._handle, view) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._set_direct(False)

    def _set_direct(self, wanted: bool) -> None:
        """Pass the cache by, or not; a file system that cannot refuses here or at the first block."""
        import fcntl

        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
            self._direct = wanted
        except OSError:
            self._direct = False
