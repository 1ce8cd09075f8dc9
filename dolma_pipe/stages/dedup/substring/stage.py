"""Repeated passages, wherever they begin: of every text of `min_bytes` or more that occurs twice, the first stays.

    A byte is repeated if it lies in `min_bytes` consecutive bytes of its document that occur earlier: in an earlier
    document, or in its own, ending where these begin or before. Documented order is: data sets kept before, then
    those given, shard path by bytes, row, byte.

That is all of the definition, and it holds for any size of corpus: nothing is sampled. Runs of repeated bytes, and
islands of at most `max_island` bytes between two of them, become spans of whole characters. Lee et al. 2021
("Deduplicating Training Data Makes Language Models Better") find the same repeats from 50 tokens on in a suffix array
of the corpus, which has to be held in memory; here texts meet at their anchors (kernels/winnowing):

    keep     per shard       the same of documents that were kept before
    anchors  per shard       documents -> anchors with hashes of their cores and scenes
    compare  per partition   a range of all cores -> where each occurs first, and which have several scenes
    scenes   per shard       documents -> the text around contested cores
    settle   per partition   a range of all contested cores -> which windows occurred before, and where
    write    per shard       documents, both -> attributes/dedup_substring/**
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.dedup.config import DedupConfig
from dolma_pipe.stages.dedup.corpus import KEYS, SCRATCH, Corpus
from dolma_pipe.stages.dedup.inert import refuse_inert
from dolma_pipe.stages.dedup.spill import KeyRange
from dolma_pipe.stages.dedup.substring.anchors import RECORD_BYTES, SubstringRules
from dolma_pipe.stages.dedup.substring.passes import Passes, warm_up
from dolma_pipe.stages.dedup.substring.scenes import WINDOW_BYTES
from dolma_pipe.types import Plain


class SubstringDedup(Stage):
    """Attributes that say which passages occur before."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 2
    phases: tuple[str, ...] = ("anchors", "compare", "scenes", "settle", "write")
    kept_phases = ("keep",)

    def __init__(self, config: DedupConfig) -> None:
        self.config = config
        self.corpus = Corpus(config)
        self.home = self.corpus.home
        self.max_bad_fraction = config.max_bad_fraction
        self.rules = config.substring or SubstringRules()
        self.rules.check()
        self.length = self.rules.min_bytes
        self.phases = (*(("keep",) if config.against else ()), *type(self).phases)
        self.passes = Passes(self.corpus, self.rules, self.version)

    # Where things lie

    def _record(self, phase: str, index: int) -> str:
        if phase == "write":
            return storage.join(self.corpus.folder(index), MANIFEST, self.corpus.shards[index][1].stem + ".json")
        return storage.join(self.passes.folder(index), KEYS, MANIFEST, phase, self.corpus.task_name(index) + ".json")

    def _new_folders(self) -> list[str]:
        return self.corpus.folders[len(self.config.against) :]

    def scratch_folders(self) -> list[str]:
        return [storage.join(folder, KEYS, SCRATCH) for folder in self._new_folders()]

    def record_folders(self) -> list[str]:
        keys = [
            storage.join(folder, KEYS, MANIFEST, phase) for folder in self._new_folders() for phase in self.phases[:-1]
        ]
        return [*keys, *(storage.join(folder, MANIFEST) for folder in self._new_folders())]

    # What is to do

    def warm(self) -> None:
        warm_up()

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == self.phases[0]:
            self.corpus.look()
        if phase == "keep":
            return [self._anchor_task(phase, index) for index in range(self.corpus.kept)]
        if phase == "anchors":
            return [self._anchor_task(phase, index) for index in self.corpus.new]
        if phase == "compare":
            new, anchors = done["anchors"], self._anchors(done)
            refuse_inert(self.corpus, new, _sum(new, "keys"), f"no document has {self.length} bytes or more")
            return self._partition_tasks(phase, RECORD_BYTES * _sum(anchors, "keys"), anchors)
        if phase == "scenes":
            return self._scene_tasks(done)
        if phase == "settle":
            return self._partition_tasks(phase, WINDOW_BYTES * _sum(done["scenes"], "windows"), done["scenes"])
        self._refuse_unexpected(done)
        return self._write_tasks(done)

    def _definition(self, phase: str, *more: Plain) -> str:
        return fingerprint((self.name, "substring", self.version, phase, *more))

    @staticmethod
    def _anchors(done: dict[str, list[Record]]) -> list[Record]:
        """The records of all shards' anchors."""
        return [*done.get("keep", ()), *done["anchors"]]

    def _anchor_task(self, phase: str, index: int) -> Task:
        corpus, scope = self.corpus, self.config.scope
        names = corpus.shard_name(index)[0] if scope == "dataset" else None
        where = corpus.where if index >= corpus.kept else None
        definition = self._definition(phase, self.length, where, scope, self.config.limit, names)
        record, inputs = self._record(phase, index), corpus.inputs(index)
        return Task(corpus.task_name(index), record, definition, inputs, {"index": index}, scratch=True)

    def _partition_tasks(self, phase: str, size: int, spilled: Sequence[Record]) -> list[Task]:
        count = max(1, -(-size // self.config.partition_bytes))
        shared = self._definition(phase, [record.digest() for record in spilled])
        tasks: list[Task] = []
        for part in (KeyRange(index, count) for index in range(count)):
            record = storage.join(self.home, KEYS, MANIFEST, phase, part.name + ".json")
            tasks.append(Task(part.name, record, fingerprint((shared, part)), payload=tuple(part), scratch=True))
        return tasks

    def _scene_tasks(self, done: dict[str, list[Record]]) -> list[Task]:
        shared = self._definition("scenes", [record.digest() for record in done["compare"]])
        return [
            self._shard_task("scenes", index, fingerprint((shared, record.digest())), payload)
            for index, (record, payload) in enumerate(self._payloads(done))
        ]

    def _write_tasks(self, done: dict[str, list[Record]]) -> list[Task]:
        names = [self.corpus.shard_name(index) for index in range(len(self.corpus.shards))]
        asked = [record.digest() for record in (*done["compare"], *done["settle"])]
        shared = self._definition("write", self.corpus.set_name, names, self.rules.island, asked)
        found = list(enumerate(self._payloads(done)))[self.corpus.kept :]
        return [
            self._shard_task("write", index, fingerprint((shared, record.digest())), payload)
            for index, (record, payload) in found
        ]

    def _payloads(self, done: dict[str, list[Record]]) -> Iterator[tuple[Record, dict[str, Plain]]]:
        """Per shard the record of its anchors, and what the later phases have to know about it."""
        first = 0
        for index, record in enumerate(self._anchors(done)):
            about = {"shard": record.facts["shard"], "bad_rows": record.counts.get("bad_rows", 0)}
            partitions = {phase: len(done.get(phase, ())) for phase in ("compare", "settle")}
            yield record, {"index": index, "first": first, "pages": record.facts["pages"], "about": about, **partitions}
            first += record.facts["pages"]

    def _shard_task(self, phase: str, index: int, definition: str, payload: Plain) -> Task:
        documents = self.corpus.inputs(index)[:1]
        name = self.corpus.task_name(index)
        return Task(name, self._record(phase, index), definition, documents, payload, scratch=phase == "scenes")

    def _refuse_unexpected(self, done: dict[str, list[Record]]) -> None:
        repeated = sum(record.counts.get("repeats", 0) for phase in ("compare", "settle") for record in done[phase])
        if self.config.expect_duplicates and not repeated:
            raise DataError(
                f"dedup by substring: no {self.length} bytes occur twice, and duplicates were expected; lower "
                "substring.min_bytes, or run without --expect-duplicates"
            )

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase in ("compare", "settle"):
            getattr(self.passes, phase)(KeyRange(*task.payload), work)
        else:
            getattr(self.passes, "anchors" if phase == "keep" else phase)(task, work)


def _sum(records: Sequence[Record], name: str) -> int:
    """The sum of a fact."""
    return sum(record.facts[name] for record in records)
