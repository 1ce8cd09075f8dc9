"""Runs jobs as Ray tasks, on this machine or on a cluster; what comes out is the same as locally.

With no cluster at hand (`RAY_ADDRESS` unset) a local Ray is started with as many slots as workers. Data sets on a
cluster must lie where every node sees them (a shared file system or s3://).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dolma_pipe.errors import ConfigError, DependencyError, TaskError
from dolma_pipe.manifest import Record
from dolma_pipe.runners.local import MAX_DEATHS, Outcome
from dolma_pipe.stage import Job, Progress, Stage, perform

EXCLUDED = [".venv", ".git", "demo", "data", "*.jsonl*", "*.parquet", "*.bin"]


class Ray:
    """At most `workers` jobs at once; a job whose worker dies is retried twice by Ray itself."""

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"workers: {workers} is not a number of slots; give 1 or more")
        self.workers = workers

    def run(
        self, stage: Stage, jobs: Sequence[Job], report: Callable[[Progress], None]
    ) -> Iterator[tuple[Job, Outcome]]:
        if not jobs:
            return
        ray = _connect(self.workers)
        remote = ray.remote(num_cpus=1, max_retries=MAX_DEATHS - 1)(_work)
        shared = ray.put(stage)
        waiting, running = list(reversed(jobs)), {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                job = waiting.pop()
                running[remote.remote(shared, job)] = job
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                job = running.pop(reference)
                progress, outcome = _result(ray, reference)
                report(progress)
                yield job, outcome

    def close(self) -> None:
        """Nothing of ours outlives a run; Ray itself stays until the process ends."""


def _connect(workers: int) -> Any:
    try:
        import ray
    except ImportError as error:
        raise DependencyError("ray", "ray", "--runner ray") from error
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet, runtime_env={"excludes": EXCLUDED})
        else:
            ray.init(address="local", num_cpus=workers, **quiet)
    return ray


def _work(stage: Stage, job: Job) -> tuple[Progress, Outcome]:
    """One job in a Ray worker; its progress is added up and comes with the outcome."""
    seen: list[Progress] = []
    try:
        outcome: list[Record] | Exception = perform(stage, job, seen.append)
    except Exception as error:
        outcome = error
    return Progress(sum(p.documents for p in seen), sum(p.bytes for p in seen)), outcome


def _result(ray: Any, reference: Any) -> tuple[Progress, Outcome]:
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError:
        return Progress(), TaskError(f"killed {MAX_DEATHS} workers; is there enough memory?")
    except ray.exceptions.RayError as error:
        return Progress(), TaskError(f"Ray could not run it: {error}")
