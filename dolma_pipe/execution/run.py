"""One run of a stage, phase by phase."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable

import msgspec

from dolma_pipe import __version__, manifest, quarantine, storage
from dolma_pipe.compilation import told_of_compiling
from dolma_pipe.errors import ConfigError, DataError, TaskError
from dolma_pipe.execution.events import Event, Message, Options, PhaseStarted, Summary, TaskDone
from dolma_pipe.execution.folders import Folders
from dolma_pipe.execution.interruption import terminable
from dolma_pipe.execution.tasks import check_names, my_share, records_of, sweep, to_do, to_do_again
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.stage import Job, Runner, Stage, Task
from dolma_pipe.types import Counts, add_counts

COMPILING = "compiling kernels: it may take a minute or two, once per machine and version"
AS_USUAL = Options()


def run_stage(
    stage: Stage, runner: Runner, options: Options = AS_USUAL, on_event: Callable[[Event], None] = lambda _: None
) -> Summary:
    """Bring a stage's outputs up to date; raises `TaskError` after the others if some task failed."""
    run = _Run(stage, runner, options, on_event)
    try:
        with terminable(run.tell), told_of_compiling(lambda: run.tell(COMPILING)):
            return run.all_phases()
    finally:
        runner.close()
        run.folders.release()


class _Run:
    def __init__(self, stage: Stage, runner: Runner, options: Options, on_event: Callable[[Event], None]) -> None:
        self.stage, self.runner, self.options, self.on_event = stage, runner, options, on_event
        self.records: dict[str, list[Record]] = {}
        self.tasks: dict[str, list[Task]] = {}
        self.done = 0
        self.started = time.time()
        self.folders = Folders(stage.name, shared=options.part is not None)
        self._warm = False

    def tell(self, text: str) -> None:
        self.on_event(Message(text))

    def all_phases(self) -> Summary:
        """Do what is left to do, and remove what nobody wants any more."""
        pending = self._first_unfinished()
        if pending is not None:
            if self.options.dry_run:
                return self._summary(to_do=len(to_do(pending, self.tasks[pending], self.options)))
            if not self._run_from(self.stage.phases.index(pending)):
                return self._summary()
        if self.options.dry_run:
            return self._summary()
        removed = self._sweep() if self.options.part is None else 0
        for folder in self.stage.scratch_folders():  # also of a run that was killed after its last record
            storage.remove_tree(folder)
        summary = self._summary(removed)
        if self.done or removed:
            self._log(summary)
        parts = self._all_parts()
        self.folders.tidy_up_after_others(self.stage.home, (manifest.root_of(record) for record in parts))
        return summary

    def _first_unfinished(self) -> str | None:
        """The first phase with work left; records of the phases before it are collected on the way."""
        for phase in self.stage.phases:
            tasks = self.tasks[phase] = self.stage.plan(phase, self.records)
            check_names(self.stage, phase, tasks)
            if self.options.force or to_do(phase, tasks, self.options):
                return phase
            self.records[phase] = records_of(tasks)
            self._check_bad(phase)
        return None

    def _run_from(self, first: int) -> bool:
        """Do all phases from the first unfinished one on; False where another part of the run has to finish one."""
        for phase in self.stage.phases[:first]:
            if not self._run_phase(phase, to_do_again(phase, self.tasks[phase])):
                return False
        for phase in self.stage.phases[first:]:
            tasks = self.tasks[phase] = self.stage.plan(phase, self.records)
            if not self._run_phase(phase, to_do(phase, tasks, self.options, rebuild=True)):
                return False
        return True

    def _run_phase(self, phase: str, jobs: list[Job]) -> bool:
        """Do the jobs of a phase; False when another part of the run has to finish it."""
        mine = my_share(jobs, self.tasks[phase], self.options.part)
        if mine:
            self._prepare(mine)
        self.on_event(PhaseStarted(phase, len(self.tasks[phase]), len(mine)))
        failures: list[tuple[Job, Exception]] = []
        for job, outcome in self.runner.run(self.stage, mine, self.on_event):
            if isinstance(outcome, Exception):
                if isinstance(outcome, ConfigError):
                    raise outcome
                failures.append((job, outcome))
                self.tell(f"failed: {phase} {job.task.name}: {outcome}")
            else:
                self.done += 1
                self.on_event(TaskDone(job.task.name, outcome[0].counts))
        if failures:
            raise _failure(self.stage, phase, failures)
        if len(mine) < len(jobs):
            self.tell(f"{phase}: this part is done; run once more without --part when all parts are")
            return False
        self.records[phase] = records_of(self.tasks[phase])
        self._check_bad(phase)
        return True

    def _prepare(self, jobs: list[Job]) -> None:
        storage.make_folder(self.stage.home)
        self.folders.claim(manifest.root_of(part.record) for job in jobs for part in job.wanted)
        self.folders.tidy()
        if not self._warm:
            if said := self.stage.warm():
                self.tell(said)
            self._warm = True

    def _check_bad(self, phase: str) -> None:
        counts = self._phase_counts(phase)
        rows, size = counts.get("bad_rows", 0), counts.get("bad_bytes", 0)
        all_rows, all_size = rows + counts.get("documents", 0), size + counts.get("bytes", 0)
        fraction = max(rows / max(all_rows, 1), size / max(all_size, 1))
        if rows and fraction > self.stage.max_bad_fraction:
            told = quarantine.commonest(sorted({self.stage.home, *self.folders.claimed}))
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

    def _all_parts(self) -> set[str]:
        """The records of all parts of all tasks."""
        return {part.record for tasks in self.tasks.values() for task in tasks for part in task.all_parts()}

    def _sweep(self) -> int:
        removed = sweep(self.stage, self._all_parts())
        if removed:
            self.tell(f"removed the outputs of {removed} tasks that are no longer part of the stage")
        return removed

    def _summary(self, removed: int = 0, to_do: int = 0) -> Summary:
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
