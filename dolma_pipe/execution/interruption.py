"""What ends a run from outside."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def terminable(tell: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM, as batch systems send it, ends the block as an exception does: workers are stopped, nothing unfinished
    is left. The exit code is that of a process which the signal killed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SystemExit:
        tell("stopped by SIGTERM: nothing half-written is visible, run again to go on")
        raise
    finally:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)
