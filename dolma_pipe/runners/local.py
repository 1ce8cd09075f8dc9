"""Runs jobs on this machine: in this process for one worker, else in supervised processes.

A worker that dies (kill -9, out of memory) is replaced and its job runs again; a job that killed three workers
fails and the others go on. Interrupting the parent stops every worker within two seconds.
"""

from __future__ import annotations

import multiprocessing
import signal
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
Outcome = list[Record] | Exception


class Local:
    """`workers` processes; 1 runs the jobs in the calling process, one after the other."""

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"workers: {workers} is not a number of processes; give 1 or more")
        self.workers = workers

    def run(
        self, stage: Stage, jobs: Sequence[Job], report: Callable[[Progress], None]
    ) -> Iterator[tuple[Job, Outcome]]:
        workers = min(self.workers, len(jobs))
        if workers <= 1:
            for job in jobs:
                yield job, _attempt(stage, job, report)
        else:
            with _Pool(stage, workers) as pool:
                yield from pool.run(jobs, report)


def _attempt(stage: Stage, job: Job, report: Callable[[Progress], None]) -> Outcome:
    try:
        return perform(stage, job, report)
    except Exception as error:
        return error


class _Worker:
    def __init__(self, context: Any, stage: Stage) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, stage), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        self.connection.send(job)


class _Pool:
    def __init__(self, stage: Stage, workers: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dolma_pipe.runners.local"])
        self._stage = stage
        self._workers = [_Worker(self._context, stage) for _ in range(workers)]
        self._deaths: dict[str, int] = {}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        deadline = time.monotonic() + 1.0
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def run(self, jobs: Sequence[Job], report: Callable[[Progress], None]) -> Iterator[tuple[Job, Outcome]]:
        waiting = deque(jobs)
        left = len(jobs)
        for worker in self._workers:
            if waiting:
                worker.give(waiting.popleft())
        while left:
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
            for worker in self._workers:
                if waiting and worker.job is None:
                    worker.give(waiting.popleft())

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
        self._workers[self._workers.index(worker)] = _Worker(self._context, self._stage)
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


def _serve(connection: Connection, stage: Stage) -> None:
    """A worker's life: jobs in, progress and outcomes out, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal sends Ctrl-C to all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while True:
            job: Job = connection.recv()
            outcome = _attempt(stage, job, connection.send)
            try:
                connection.send(outcome)
            except (TypeError, AttributeError, ValueError):  # an exception that cannot be pickled
                connection.send(TaskError(f"{type(outcome).__name__}: {outcome}"))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
