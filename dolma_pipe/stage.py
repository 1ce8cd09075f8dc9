"""What a stage is: phases of independent tasks, each leaving a record when it is done.

Skipping, resuming, renaming, counting and quarantine live here, once. A stage
says what is done to which files; a runner says where. Running a stage again
does only what its inputs, its definition or a crash left undone.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from dolma_pipe import heap, manifest, storage
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import Input, Output, Record, Ref
from dolma_pipe.shards import BadRow
from dolma_pipe.types import Counts, Plain


class Part(NamedTuple):
    """One thing a task makes that is recorded for itself: tagging a shard makes one part per attribute set."""

    name: str
    record: str
    definition: str


class Task(msgspec.Struct, frozen=True):
    """The smallest thing that can be skipped, retried or sent elsewhere.

    `definition` fingerprints all that shapes the outputs except the content of `inputs`; where a task builds on
    earlier phases, their records' digests belong in it. A task with `parts` has no record of its own. `scratch`
    outputs may be gone once the stage is finished and are rebuilt only when something downstream must run.
    """

    name: str
    record: str = ""
    definition: str = ""
    inputs: tuple[Ref, ...] = ()
    payload: Any = None
    scratch: bool = False
    parts: tuple[Part, ...] = ()

    def all_parts(self) -> tuple[Part, ...]:
        return self.parts or (Part("", self.record, self.definition),)


class Job(NamedTuple):
    """A task on its way to a worker, with the parts that are still to be made."""

    phase: str
    task: Task
    wanted: tuple[Part, ...]


class Stage:
    """Base of all stages; holds configuration only, so that it can be sent to workers.

    `home` is the folder that the stage writes. `kept_phases` read what an earlier run kept: a summary calls their
    counts `kept_...`, the others are those of what is new. `max_bad_fraction` is the largest share of unreadable rows
    (or bytes, whichever is larger) that a run accepts.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    phases: tuple[str, ...]
    kept_phases: tuple[str, ...] = ()
    home: str
    max_bad_fraction: float = 0.01

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        """The tasks of a phase; `done` has the records of earlier phases, in task order."""
        raise NotImplementedError

    def run(self, phase: str, task: Task, work: Work) -> None:
        """Do one task: read its inputs, write its outputs through `work`."""
        raise NotImplementedError

    def warm(self) -> str | None:
        """Compile kernels and load models once, in the parent, before workers start; what it returns is said."""

    def places_read(self) -> dict[str, dict[str, str]]:
        """Where what it read lies, by name, for the log of its runs: no record and no comparison has it."""
        return {}

    def scratch_folders(self) -> list[str]:
        """Folders to remove once everything is done."""
        return []

    def record_folders(self) -> list[str]:
        """Where this stage's records lie: what is found there and belongs to no task is removed with its outputs."""
        return [storage.join(self.home, manifest.MANIFEST, phase) for phase in self.phases]

    def still_wanted(self, record: Record) -> bool:
        """May a record that no task of this run claims stay? Not unless a stage says so."""
        return False


class Progress(NamedTuple):
    documents: int = 0
    bytes: int = 0


class Work:
    """What a running task tells about itself; all of it ends up in its records."""

    def __init__(self, stage: Stage, job: Job, files: storage.Publication, report: Callable[[Progress], None]) -> None:
        self.wanted = {part.name for part in job.wanted}
        self.outputs: dict[str, list[Output]] = {part.name: [] for part in job.wanted}
        self.counts: Counts = {}
        self.facts: dict[str, Plain] = {}
        self.inputs: dict[str, tuple[int, str]] = {}
        self._job, self._stage = job, stage.name
        self._earlier: dict[str, dict[str, Output]] = {}
        self._roots = {part.name: manifest.root_of(part.record) for part in job.wanted}
        self._scratch = job.task.scratch
        self._files = files
        self._report = report

    @contextlib.contextmanager
    def create(self, path: str, part: str = "", direct: bool = False) -> Iterator[storage.Writer]:
        """Write an output aside; with all others it is published when the task ends well. Set `.rows` in the block.
        `direct` as for `storage.Publication.create`."""
        root = self._roots[part]
        relative = path.removeprefix(root).lstrip("/")
        if storage.is_remote(path):  # it appears at once, not with the others
            self._announce(part, [*self.outputs[part], Output(relative, 0, 0, "")])
        with self._files.create(path, root, not self._scratch, direct) as writer:
            yield writer
        self.outputs[part].append(Output(relative, writer.rows, writer.size, writer.hash))

    def announce(self) -> None:
        """Say in every part's record which outputs are about to appear. Of a run that is killed among them it stays:
        it matches nothing, and tells the next run what to remove."""
        for part, outputs in self.outputs.items():
            self._announce(part, outputs)

    def _announce(self, name: str, coming: list[Output]) -> None:
        path = next(part.record for part in self._job.wanted if part.name == name)
        if name not in self._earlier:
            earlier = manifest.read(path)
            self._earlier[name] = {} if earlier is None else {output.path: output for output in earlier.outputs}
        every = list({**self._earlier[name], **{output.path: output for output in coming}}.values())
        manifest.announce(
            self._files, path, Record(self._stage, self._job.task.name, "", [], every, {}), not self._scratch
        )

    def remove_stale(self) -> None:
        """Remove what the task wrote when it was last done, or was killed, and has not written again."""
        for name, outputs in self.outputs.items():
            for path in sorted(self._earlier[name].keys() - {output.path for output in outputs}):
                storage.remove(storage.join(self._roots[name], path))

    def seen(self, ref: Ref, size: int, digest: str) -> None:
        """An input was read whole; its size and hash were computed on the way."""
        self.inputs[ref.name] = (size, digest)

    def count(self, **counts: int) -> None:
        """Add to the record's counts; counts of all tasks are summed in the summary."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + int(value)

    def fact(self, name: str, value: Plain) -> None:
        """Put plain data into the record, for later phases to read."""
        self.facts[name] = value

    def progress(self, documents: int = 0, bytes: int = 0) -> None:
        self._report(Progress(documents, bytes))

    @contextlib.contextmanager
    def quarantine(self, path: str) -> Iterator[Callable[[BadRow], None]]:
        """A sink for unreadable rows; the file appears only if there were some, else an old one goes."""
        with contextlib.ExitStack() as stack:
            writers: list[storage.Writer] = []

            def add(row: BadRow) -> None:
                if not writers:
                    root = next(iter(self._roots.values()))
                    writers.append(stack.enter_context(self._files.create(path, root)))
                writers[0].write(msgspec.json.encode(row) + b"\n")
                writers[0].rows += 1

            yield add
            if not writers:
                storage.remove(path)


def perform(stage: Stage, job: Job, report: Callable[[Progress], None]) -> list[Record]:
    """Do one job here and now and record it; this is what runners run."""
    heap.keep_freed()
    refs = job.task.inputs
    stamps = {ref.name: found for ref in refs if (found := storage.stat(ref.path)) is not None}
    missing = next((ref for ref in refs if ref.name not in stamps), None)
    if missing is not None:
        raise DataError(f"{missing.path}: gone since the run was planned, or not to be seen from {platform.node()}")
    with storage.Publication() as files:
        work = Work(stage, job, files, report)
        stage.run(job.phase, job.task, work)
        inputs = [_input(ref, work, stamps[ref.name]) for ref in refs]
        work.announce()
    work.remove_stale()
    records: list[Record] = []
    with storage.Publication() as files:
        for part in job.wanted:
            outputs = sorted(work.outputs[part.name], key=lambda output: output.path)
            counts = dict(sorted(work.counts.items()))
            record = Record(stage.name, job.task.name, part.definition, inputs, outputs, counts, work.facts)
            manifest.write(files, part.record, record, refs, stamps)
            records.append(record)
    return records


def _input(ref: Ref, work: Work, before: storage.Stat) -> Input:
    if storage.stat(ref.path) != before:
        raise DataError(f"{ref.path}: changed while it was read; run again")
    size, digest = work.inputs.get(ref.name) or (before.size, storage.content_hash(ref.path))
    return Input(ref.name, size, digest)


class Runner(Protocol):
    """Where jobs run. Outcomes come in any order; a failed job gives its error, the others go on."""

    workers: int

    def run(
        self, stage: Stage, jobs: Sequence[Job], report: Callable[[Progress], None]
    ) -> Iterator[tuple[Job, list[Record] | Exception]]: ...

    def close(self) -> None:
        """Let go of workers, whatever they are doing; the runner can be used again."""
