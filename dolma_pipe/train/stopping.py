"""SIGTERM and Ctrl-C become a wish that the loop grants at the next step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from time import monotonic
from types import FrameType

ECHO_SECONDS = 2.0
"""torchrun passes on the Ctrl-C that its workers have had from the terminal already; that one does not count."""


class Stop:
    """The signal that asked for an end, if one did."""

    signal: str | None = None
    noted: float = 0.0


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note SIGTERM and SIGINT instead of dying of the first; one that comes `ECHO_SECONDS` later kills as usual."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        if stop.signal is None:
            stop.signal, stop.noted = signal.Signals(number).name, monotonic()
        elif monotonic() - stop.noted > ECHO_SECONDS:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
