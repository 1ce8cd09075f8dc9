"""Tells when Numba starts to compile: what is not in the cache takes seconds a kernel, and nothing else is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event


@contextmanager
def told_of_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` once, when the first kernel is compiled that no cache has. Other processes are not heard."""
    with event.install_listener("numba:compile", _Listener(tell)):  # type: ignore[no-untyped-call]
        yield


class _Listener(event.Listener):
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: Any) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def on_end(self, event: Any) -> None:
        """Nobody asks how long it took."""
