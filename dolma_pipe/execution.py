"""Runs a stage: finds what is left to do, hands it to a runner, and adds up what came out."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from dolma_pipe import __version__, manifest, quarantine, storage
from dolma_pipe.compilation import told_of_compiling
from dolma_pipe.errors import ConfigError, DataError, TaskError
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.stage import Job, Progress, Runner, Stage, Task
from dolma_pipe.types import Counts, add_counts

COMPILING = "compiling kernels: it may take a minute or two, once per machine and version"


LOG_TIME = 600.0
"""Seconds after which an unfinished entry of the log is nobody's; runs of other sets may write theirs beside ours."""


class PhaseStarted(NamedTuple):
    phase: str
    tasks: int
    to_do: int


class TaskDone(NamedTuple):
    task: str
    counts: Counts


class Message(NamedTuple):
    text: str


Event = PhaseStarted | TaskDone | Message | Progress


class Options(NamedTuple):
    """How a stage is run; none of it changes what comes out.

    `force` does everything again, `rehash` compares inputs by content even where size and time agree, `dry_run` only
    plans, `part` = (i, n) does every n-th task from the i-th (0-based), for arrays of jobs on a cluster.
    """

    force: bool = False
    rehash: bool = False
    dry_run: bool = False
    part: tuple[int, int] | None = None


class Summary(NamedTuple):
    """What a run did: tasks done now and before, the counts of all of them, outputs removed with their inputs."""

    stage: str
    home: str
    done: int
    skipped: int
    removed: int
    counts: Counts
    seconds: float
    to_do: int = 0


def run_stage(
    stage: Stage, runner: Runner, options: Options = Options(), on_event: Callable[[Event], None] = lambda _: None
) -> Summary:
    """Bring a stage's outputs up to date; raises `TaskError` after the others if some task failed."""
    run = _Run(stage, runner, options, on_event)
    try:
        with _terminable(on_event), told_of_compiling(lambda: on_event(Message(COMPILING))):
            return run.all_phases()
    finally:
        runner.close()
        run.end()


@contextlib.contextmanager
def _terminable(on_event: Callable[[Event], None]) -> Iterator[None]:
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
        on_event(Message("stopped by SIGTERM: nothing half-written is visible, run again to go on"))
        raise
    finally:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


class _Run:
    def __init__(self, stage: Stage, runner: Runner, options: Options, on_event: Callable[[Event], None]) -> None:
        self.stage, self.runner, self.options, self.on_event = stage, runner, options, on_event
        self.records: dict[str, list[Record]] = {}
        self.tasks: dict[str, list[Task]] = {}
        self.done = 0
        self.started = time.time()
        self._warm = False
        self._roots: set[str] = set()
        self._claims = storage.Claims(shared=options.part is not None)

    def end(self) -> None:
        """Remove the folders of unfinished files, and let others write."""
        try:
            self._tidy()
        finally:
            self._claims.release()

    def _tidy(self) -> None:
        if self.options.part is None:
            for root in self._roots:
                storage.clear_aside(root)
                storage.clear_aside(storage.join(root, MANIFEST))

    def _tidy_up_after_others(self) -> None:
        """A run that was killed may have left unfinished files where this one had nothing to do."""
        storage.clear_aside(storage.join(self.stage.home, MANIFEST), older_than=LOG_TIME)
        roots = {
            manifest.root_of(part.record) for tasks in self.tasks.values() for t in tasks for part in t.all_parts()
        }
        for root in sorted(roots - self._roots):
            if any(storage.has_unfinished(place) for place in (root, storage.join(root, MANIFEST))):
                with contextlib.suppress(ConfigError):  # they are another's who is at work
                    self._claim(root)

    def _claim(self, root: str) -> None:
        self._claims.add(storage.join(root, MANIFEST, "runs", f"{self.stage.name}.lock"), root)
        self._roots.add(root)

    def all_phases(self) -> Summary:
        pending = self._first_unfinished()
        to_do = 0
        if pending is not None:
            if self.options.dry_run:
                return self._summary(removed=0, to_do=len(self._jobs(pending)))
            earlier = self.stage.phases[: self.stage.phases.index(pending)]
            for phase in earlier:
                if not self._run_phase(phase, self._lost_scratch(phase)):
                    return self._summary(removed=0, to_do=to_do)
            for phase in self.stage.phases[len(earlier) :]:
                self.tasks[phase] = self.stage.plan(phase, self.records)
                if not self._run_phase(phase, self._jobs(phase, rebuild=True)):
                    return self._summary(removed=0, to_do=to_do)
        removed = self._sweep() if not self.options.dry_run and self.options.part is None else 0
        if not self.options.dry_run:  # a run may have been killed after its last record, with its scratch still there
            for folder in self.stage.scratch_folders():
                storage.remove_tree(folder)
        summary = self._summary(removed, to_do)
        if self.done or removed:
            self._log(summary)
        if not self.options.dry_run:
            self._tidy_up_after_others()
        return summary

    def _first_unfinished(self) -> str | None:
        """The first phase with work left; records of the phases before it are collected on the way."""
        for phase in self.stage.phases:
            self.tasks[phase] = self.stage.plan(phase, self.records)
            _check_names(self.stage, phase, self.tasks[phase])
            if self.options.force or self._jobs(phase):
                return phase
            self.records[phase] = [record for task in self.tasks[phase] for record in _records(task)]
            self._check_bad(phase)
        return None

    def _jobs(self, phase: str, rebuild: bool = False) -> list[Job]:
        """What is left to do; with `rebuild`, lost scratch outputs too, since a later phase will read them."""
        jobs: list[Job] = []
        for task in self.tasks[phase]:
            keep = task.scratch and not rebuild
            wanted = tuple(p for p in task.all_parts() if not self._stands(task, keep, p.record, p.definition))
            if wanted:
                jobs.append(Job(phase, task, wanted))
        return jobs

    def _stands(self, task: Task, may_be_lost: bool, record_path: str, definition: str) -> bool:
        if self.options.force:
            return False
        record = manifest.read(record_path)
        if record is None or record.definition != definition:
            return False
        if not may_be_lost and not manifest.outputs_stand(record, record_path):
            return False
        return manifest.inputs_stand(record, record_path, task.inputs, self.options.rehash)

    def _lost_scratch(self, phase: str) -> list[Job]:
        jobs: list[Job] = []
        for task in self.tasks[phase]:
            lost = tuple(p for p in task.all_parts() if not manifest.outputs_stand(_record(p.record), p.record))
            if lost:
                jobs.append(Job(phase, task, lost))
        return jobs

    def _run_phase(self, phase: str, jobs: list[Job]) -> bool:
        """Do the jobs of a phase; False when another part of the run has to finish it."""
        mine = self._my_share(phase, jobs)
        if mine:
            self._prepare(mine)
        self.on_event(PhaseStarted(phase, len(self.tasks[phase]), len(mine)))
        failures: list[tuple[Job, Exception]] = []
        for job, outcome in self.runner.run(self.stage, mine, self.on_event):
            if isinstance(outcome, Exception):
                if isinstance(outcome, ConfigError):
                    raise outcome
                failures.append((job, outcome))
                self.on_event(Message(f"failed: {phase} {job.task.name}: {outcome}"))
            else:
                self.done += 1
                self.on_event(TaskDone(job.task.name, outcome[0].counts))
        if failures:
            raise _failure(self.stage, phase, failures)
        if len(mine) < len(jobs):
            self.on_event(Message(f"{phase}: this part is done; run once more without --part when all parts are"))
            return False
        self.records[phase] = [record for task in self.tasks[phase] for record in _records(task)]
        self._check_bad(phase)
        return True

    def _my_share(self, phase: str, jobs: list[Job]) -> list[Job]:
        """By the task's place among all, not among those left: parts need not start at the same time."""
        if self.options.part is None:
            return jobs
        first, count = self.options.part
        names = {task.name for task in self.tasks[phase][first::count]}
        return [job for job in jobs if job.task.name in names]

    def _prepare(self, jobs: list[Job]) -> None:
        storage.make_folder(self.stage.home)
        for root in sorted({manifest.root_of(part.record) for job in jobs for part in job.wanted} - self._roots):
            self._claim(root)
        self._tidy()
        if not self._warm:
            if said := self.stage.warm():
                self.on_event(Message(said))
            self._warm = True

    def _check_bad(self, phase: str) -> None:
        counts = self._phase_counts(phase)
        rows, size = counts.get("bad_rows", 0), counts.get("bad_bytes", 0)
        all_rows, all_size = rows + counts.get("documents", 0), size + counts.get("bytes", 0)
        fraction = max(rows / max(all_rows, 1), size / max(all_size, 1))
        if rows and fraction > self.stage.max_bad_fraction:
            told = quarantine.commonest(sorted({self.stage.home, *self._roots}))
            allow = f", or allow them: --set max_bad_fraction={_rounded_up(fraction)}" if fraction < 0.2 else ""
            raise DataError(
                f"{self.stage.name}: {rows} of {all_rows} rows ({size} of {all_size} bytes) could not be read, more "
                f"than max_bad_fraction = {self.stage.max_bad_fraction}{': ' if told else ''}{told}; see _quarantine/ "
                f"below {self.stage.home}{allow}"
            )

    def _phase_counts(self, phase: str) -> Counts:
        total: Counts = {}
        step = 0
        for task in self.tasks[phase]:
            add_counts(total, self.records[phase][step].counts)
            step += len(task.all_parts())
        return total

    def _sweep(self) -> int:
        """Remove outputs and records of tasks that no longer exist because their input is gone."""
        removed = 0
        known = {part.record for tasks in self.tasks.values() for task in tasks for part in task.all_parts()}
        for folder in self.stage.record_folders():
            for path in _stored_records(folder):
                if path in known:
                    continue
                record = manifest.read(path)
                if record is None or record.stage != self.stage.name or self.stage.still_wanted(record):
                    continue
                for output in record.outputs:
                    storage.remove(storage.join(manifest.root_of(path), output.path))
                storage.remove(path)
                removed += 1
        if removed:
            self.on_event(Message(f"removed the outputs of {removed} tasks whose inputs are gone"))
        return removed

    def _summary(self, removed: int, to_do: int) -> Summary:
        counts: Counts = {}
        for phase in self.stage.phases:
            if phase in self.records:
                of = "kept_" if phase in self.stage.kept_phases else ""
                for name, value in self._phase_counts(phase).items():
                    counts[of + name] = max(value, counts.get(of + name, 0))
        total = sum(len(tasks) for tasks in self.tasks.values())
        seconds = time.time() - self.started
        skipped = max(total - self.done - to_do, 0)
        return Summary(self.stage.name, self.stage.home, self.done, skipped, removed, counts, seconds, to_do)

    def _log(self, summary: Summary) -> None:
        name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.started)) + f"-{self.stage.name}-{os.getpid()}.json"
        entry = {
            "stage": self.stage.name, "version": self.stage.version, "dolma_pipe": __version__,
            "python": platform.python_version(), "host": platform.node(), "workers": self.runner.workers,
            "runner": type(self.runner).__name__, "seconds": round(summary.seconds, 3), "done": summary.done,
            "skipped": summary.skipped, "removed": summary.removed, "counts": summary.counts,
            "places": self.stage.places_read(),
        }  # fmt: skip
        folder = storage.join(self.stage.home, MANIFEST)
        storage.write_bytes(storage.join(folder, "runs", name), msgspec.json.format(msgspec.json.encode(entry)), folder)


def _rounded_up(fraction: float) -> float:
    """A fraction in two digits that is no smaller."""
    digits = 1 - math.floor(math.log10(fraction))
    return math.ceil(fraction * 10**digits) / 10**digits


def _record(path: str) -> Record:
    record = manifest.read(path)
    if record is None:
        raise DataError(f"{path}: the record is gone; run again")
    return record


def _records(task: Task) -> list[Record]:
    return [_record(part.record) for part in task.all_parts()]


def _stored_records(folder: str) -> list[str]:
    if not storage.exists(folder):
        return []
    names = [name for name in storage.listing(folder) if name.endswith(".json")]
    return [storage.join(folder, name) for name in names if name.split("/", 1)[0] not in ("stat", "runs")]


def _check_names(stage: Stage, phase: str, tasks: list[Task]) -> None:
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{stage.name}: two tasks of phase {phase!r} are called {twice!r}")


def _failure(stage: Stage, phase: str, failures: list[tuple[Job, Exception]]) -> Exception:
    job, error = failures[0]
    if len(failures) == 1 and isinstance(error, DataError):
        return error
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    found = TaskError(
        f"{stage.name}: {phase} {job.task.name}: {error}{more}; the other tasks are done, run again to retry"
    )
    found.__cause__ = error
    return found
