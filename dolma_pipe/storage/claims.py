"""Folders that one run writes at a time: two would remove each other's unfinished files."""

from __future__ import annotations

import contextlib
import os
import socket

from dolma_pipe.errors import ConfigError
from dolma_pipe.storage.files import is_remote, make_folder, parent

MOST_HELD = 128
"""Each claim costs a file descriptor, of which a process may have no more than a thousand."""


class Claims:
    """Lock files of this run, held until `release` or until the process dies, however it dies.

    `shared` claims exclude none but whole ones: the parts of one run work side by side. Objects on s3 cannot be
    claimed, and a file system that knows no locks (some network ones) lets everybody in.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        self._held: dict[str, int] = {}

    def add(self, path: str, what: str) -> None:
        """Claim `what` by the lock file `path`; a `ConfigError` says who holds it."""
        if is_remote(path) or path in self._held or len(self._held) == MOST_HELD:
            return
        make_folder(parent(path))
        with contextlib.suppress(PermissionError):  # another user's lock file
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._held[path] = handle
            self._lock(handle, what)

    def release(self) -> None:
        for handle in self._held.values():
            os.close(handle)
        self._held = {}

    def _lock(self, handle: int, what: str) -> None:
        import fcntl

        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another run"
            raise ConfigError(f"{what}: {who} writes there; run again when it has ended") from error
        except OSError:
            return
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
