"""Each step's rows, read one step ahead; for a GPU, into memory from which it copies while the program goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from torch import Tensor

from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Position
from dolma_pipe.train.plan import Plan


class Feed:
    """A rank's rows of one step after another; `close` it."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan, self._world = plan, world
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: dict[Position, Future[Any]] = {}

    def take(self, at: Position) -> tuple[Any, float]:
        """The rows of the step after `at`, and the seconds that were waited for them."""
        start = perf_counter()
        rows = (self._ahead.pop(at, None) or self._read(at)).result()
        waited = perf_counter() - start
        following = self._plan.after(at)
        self._ahead = {following: self._read(following)} if following.step < self._plan.steps else {}
        return rows, waited

    def forget(self) -> None:
        """Read the next rows anew: what is excluded has changed."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {}

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _read(self, at: Position) -> Future[Any]:
        phase = self._plan.phase(at.step + 1)
        first, size = at.tokens // phase.sequence_length, phase.global_batch_size
        return self._reader.submit(self._rows, first, size, phase.sequence_length)

    def _rows(self, first: int, size: int, length: int) -> Any:
        rows = self._plan.examples.batch(first, size, self._world.rank, self._world.size, length)
        if self._world.device.type != "cuda":
            return rows
        return type(rows)(*(part.pin_memory() if isinstance(part, Tensor) else part for part in rows))
