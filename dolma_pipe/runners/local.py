"""Runs jobs on this machine: in this process for one worker, else in supervised processes.

A worker that dies (kill -9, out of memory) is replaced and its job runs again; a job that killed three workers
fails and the others go on. Interrupting the parent stops every worker within two seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dolma_pipe.errors import ConfigError, TaskError
from dolma_pipe.manifest import Record
from dolma_pipe.stage import Job, Progress, Stage, perform

MAX_DEATHS = 3
PRELOAD = ["dolma_pipe.runners.local", "dolma_pipe.kernels.jsonlines", "dolma_pipe.attributes", "duckdb"]
"""What every worker needs: imported once, in the process that workers are forked from."""

Outcome = list[Record] | Exception


class Local:
    """`workers` processes; 1 runs the jobs in the calling process, one after the other."""

    _pool: _Pool | None = None

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"workers: {workers} is not a number of processes; give 1 or more")
        self.workers = workers

    def run(
        self, stage: Stage, jobs: Sequence[Job], report: Callable[[Progress], None]
    ) -> Iterator[tuple[Job, Outcome]]:
        if min(self.workers, len(jobs)) <= 1:
            for job in jobs:
                yield job, _attempt(stage, job, report)
        else:
            self._pool = self._pool or _Pool(self.workers)
            yield from self._pool.run(stage, jobs, report)

    def close(self) -> None:
        """Stop all workers, within two seconds."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


def _attempt(stage: Stage, job: Job, report: Callable[[Progress], None]) -> Outcome:
    try:
        return perform(stage, job, report)
    except Exception as error:
        return error


class _Worker:
    """A process that does one job after the other, of one stage after the other."""

    def __init__(self, context: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.stage: bytes | None = None
        self.job: Job | None = None

    def give(self, stage: bytes, job: Job) -> None:
        """Send a job, and the stage before it where the worker has another one."""
        self.job = job
        try:
            if stage is not self.stage:
                self.connection.send_bytes(stage)
                self.stage = stage
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died while it waited: the next receive finds out


class _Pool:
    """Workers that are kept while phases of a stage follow one another."""

    def __init__(self, workers: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._count = workers
        self._workers: list[_Worker] = []
        self._deaths: dict[str, int] = {}

    def stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        deadline = time.monotonic() + 1.0
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def run(
        self, stage: Stage, jobs: Sequence[Job], report: Callable[[Progress], None]
    ) -> Iterator[tuple[Job, Outcome]]:
        packed = pickle.dumps(stage)
        waiting = deque(jobs)
        left = len(jobs)
        self._deaths = {}
        while len(self._workers) < min(self._count, len(jobs)):
            self._workers.append(_Worker(self._context))
        while left:
            for worker in self._workers:
                if waiting and worker.job is None:
                    worker.give(packed, waiting.popleft())
            for worker in self._ready():
                message = self._receive(worker)
                if isinstance(message, Progress):
                    report(message)
                    continue
                job, worker.job = worker.job, None
                if job is None:
                    continue
                if message is None:
                    message = self._bury(worker, job, waiting)
                if message is not None:
                    left -= 1
                    yield job, message

    def _ready(self) -> list[_Worker]:
        by_connection = {worker.connection: worker for worker in self._workers if worker.job is not None}
        return [by_connection[found] for found in wait(list(by_connection)) if isinstance(found, Connection)]

    def _receive(self, worker: _Worker) -> Progress | Outcome | None:
        """The worker's next message; None when it died (its end of the pipe is closed)."""
        try:
            return worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return None

    def _bury(self, worker: _Worker, job: Job, waiting: deque[Job]) -> Exception | None:
        """Replace a dead worker; its job waits again unless it has killed too many."""
        self._workers[self._workers.index(worker)] = _Worker(self._context)
        deaths = self._deaths[job.task.name] = self._deaths.get(job.task.name, 0) + 1
        if deaths < MAX_DEATHS:
            waiting.append(job)
            return None
        return TaskError(
            f"killed {deaths} workers, the last {_cause(worker.process.exitcode)}; is there enough memory?"
        )


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def _end_with_parent() -> None:
    """A parent that was killed stops nobody: what its workers would still publish might meet the next run's files."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(connection: Connection) -> None:
    """A worker's life: stages and jobs in, progress and outcomes out, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal sends Ctrl-C to all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    stage: Stage | None = None
    try:
        while True:
            message = pickle.loads(connection.recv_bytes())
            if isinstance(message, Stage):
                stage = message
                continue
            assert stage is not None
            outcome = _attempt(stage, message, connection.send)
            try:
                connection.send(outcome)
            except (TypeError, AttributeError, ValueError, pickle.PicklingError):
                connection.send(TaskError(f"{type(outcome).__name__}: {outcome}"))  # an exception that does not pickle
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
