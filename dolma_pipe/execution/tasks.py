"""Tasks against their records: which of them have to be done, and which records are of none any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dolma_pipe import manifest, storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution.events import Options
from dolma_pipe.manifest import Record
from dolma_pipe.stage import Job, Stage, Task


def to_do(phase: str, tasks: Sequence[Task], options: Options, rebuild: bool = False) -> list[Job]:
    """What is left to do; with `rebuild`, lost scratch outputs too, since a later phase will read them."""
    jobs: list[Job] = []
    for task in tasks:
        may_be_lost = task.scratch and not rebuild
        wanted = tuple(
            part for part in task.all_parts() if not _stands(task, part.record, part.definition, may_be_lost, options)
        )
        if wanted:
            jobs.append(Job(phase, task, wanted))
    return jobs


def _stands(task: Task, record_path: str, definition: str, may_be_lost: bool, options: Options) -> bool:
    if options.force:
        return False
    record = manifest.read(record_path)
    if record is None or record.definition != definition:
        return False
    if not may_be_lost and not manifest.outputs_stand(record, record_path):
        return False
    return manifest.inputs_stand(record, record_path, task.inputs, options.rehash)


def to_do_again(phase: str, tasks: Sequence[Task]) -> list[Job]:
    """Those whose scratch outputs are gone; all are done."""
    jobs: list[Job] = []
    for task in tasks:
        lost = tuple(part for part in task.all_parts() if not manifest.outputs_stand(_record(part.record), part.record))
        if lost:
            jobs.append(Job(phase, task, lost))
    return jobs


def my_share(jobs: list[Job], tasks: Sequence[Task], part: tuple[int, int] | None) -> list[Job]:
    """By the task's place among all, not among those left: parts need not start at the same time."""
    if part is None:
        return jobs
    first, count = part
    names = {task.name for task in tasks[first::count]}
    return [job for job in jobs if job.task.name in names]


def records_of(tasks: Sequence[Task]) -> list[Record]:
    """One for every part of every task, in order; all are done."""
    return [_record(part.record) for task in tasks for part in task.all_parts()]


def _record(path: str) -> Record:
    record = manifest.read(path)
    if record is None:
        raise DataError(f"{path}: the record is gone; run again")
    return record


def sweep(stage: Stage, known: Collection[str]) -> int:
    """Remove outputs and records of tasks that are no longer there; `known` are the records of those that are."""
    removed = 0
    for path in (path for folder in stage.record_folders() for path in _stored_records(folder) if path not in known):
        record = manifest.read(path)
        if record is None or record.stage != stage.name or stage.still_wanted(record):
            continue
        for output in record.outputs:
            storage.remove(storage.join(manifest.root_of(path), output.path))
        storage.remove(path)
        removed += 1
    return removed


def _stored_records(folder: str) -> list[str]:
    if not storage.exists(folder):
        return []
    names = [name for name in storage.listing(folder) if name.endswith(".json")]
    return [storage.join(folder, name) for name in names if name.split("/", 1)[0] not in ("stat", "runs")]


def check_names(stage: Stage, phase: str, tasks: Sequence[Task]) -> None:
    """Every task of a phase has a name of its own."""
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{stage.name}: two tasks of phase {phase!r} are called {twice!r}")
