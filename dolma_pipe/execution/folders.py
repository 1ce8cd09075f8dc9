"""The folders that a run writes: claimed while it is at work, and rid of what it or a killed one left unfinished."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError
from dolma_pipe.manifest import MANIFEST

LOG_TIME = 600.0
"""Seconds after which an unfinished entry of the log is nobody's; runs of other sets may write theirs beside ours."""


class Folders:
    """Those of one run of `stage`; `shared`: with other parts of it, which are at work at the same time."""

    def __init__(self, stage: str, shared: bool) -> None:
        self.claimed: set[str] = set()
        self._stage, self._shared = stage, shared
        self._claims = storage.Claims(shared)

    def claim(self, folders: Iterable[str]) -> None:
        """Hold more of them; a `ConfigError` says who else does."""
        for folder in sorted(set(folders) - self.claimed):
            self._claims.add(storage.join(folder, MANIFEST, "runs", f"{self._stage}.lock"), folder)
            self.claimed.add(folder)

    def tidy(self) -> None:
        """Remove what is unfinished in those that are held."""
        if not self._shared:
            for folder in self.claimed:
                storage.clear_aside(folder)
                storage.clear_aside(storage.join(folder, MANIFEST))

    def tidy_up_after_others(self, home: str, folders: Iterable[str]) -> None:
        """A run that was killed may have left unfinished files where this one had nothing to do."""
        storage.clear_aside(storage.join(home, MANIFEST), older_than=LOG_TIME)
        for folder in sorted(set(folders) - self.claimed):
            if any(storage.has_unfinished(place) for place in (folder, storage.join(folder, MANIFEST))):
                with contextlib.suppress(ConfigError):  # they are another's who is at work
                    self.claim([folder])

    def release(self) -> None:
        """Tidy up, and let others write."""
        try:
            self.tidy()
        finally:
            self._claims.release()
