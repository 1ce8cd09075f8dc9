"""The passes over documents and partitions that find repeated passages; `stage` says in which order they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter
from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.errors import DataError
from dolma_pipe.kernels.clusters import distinct_keys, key_order
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.kernels.passages import join_ranges
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.scenes import Scenes, compare_scenes, empty_memory, settle, with_room
from dolma_pipe.kernels.winnowing import Anchors, find_anchors, reach_of
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.corpus import KEYS, SCRATCH, Corpus
from dolma_pipe.stages.dedup.normalization import value_bytes
from dolma_pipe.stages.dedup.pages import PageRows
from dolma_pipe.stages.dedup.results import Places
from dolma_pipe.stages.dedup.scopes import missing_count
from dolma_pipe.stages.dedup.spill import KeyRange
from dolma_pipe.stages.dedup.substring.anchors import (
    AnchorWriter,
    Page,
    SubstringRules,
    compare_partition,
    read_page,
)
from dolma_pipe.stages.dedup.substring.passages import FIELDS, passage_rows, repeats
from dolma_pipe.stages.dedup.substring.scenes import Entries, SceneWriter, contested, settle_partition, surroundings
from dolma_pipe.types import Plain


class Passes:
    """What is done to a shard (a task's payload says which) or to a partition, and where it is put."""

    def __init__(self, corpus: Corpus, rules: SubstringRules, version: int) -> None:
        self.corpus, self.rules, self.version = corpus, rules, version
        self.length = rules.min_bytes
        self.reach = reach_of(self.length)

    def folder(self, index: int) -> str:
        """Where what belongs to shard `index` goes: nothing is written beside data sets that were kept before."""
        return self.corpus.folder(index) if index >= self.corpus.kept else self.corpus.home

    def shard_path(self, phase: str, index: int) -> str:
        return storage.join(self.folder(index), KEYS, SCRATCH, phase, self.corpus.task_name(index) + ".arrays")

    def partition_path(self, phase: str, part: KeyRange) -> str:
        return storage.join(self.corpus.home, KEYS, SCRATCH, phase, part.name + ".arrays")

    def _shard_paths(self, phase: str) -> list[str]:
        return [self.shard_path(phase, index) for index in range(len(self.corpus.shards))]

    def _found(self, phase: str, payload: dict[str, Any]) -> PageRows:
        """What a phase of partitions found out about the pages of a shard."""
        count: int = payload[phase]
        paths = [self.partition_path(phase, KeyRange(number, count)) for number in range(count)]
        return PageRows(paths, payload["first"], payload["pages"])

    def anchors(self, task: Task, work: Work) -> None:
        """Spill the anchors of a shard."""
        index: int = task.payload["index"]
        number, shard = self.corpus.shards[index]
        competition = self.corpus.competition(index)
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(self.corpus.quarantine(index)))
            columns = tuple(dict.fromkeys(("id", "text", *self.corpus.columns())))
            reader = DocumentReader(shard, columns, limit=self.corpus.config.limit, bad=bad)
            writer = AnchorWriter(stack.enter_context(work.create(self.shard_path("anchors", index))))
            for batch in reader:
                competes = competition.of(batch)
                found = find_anchors(batch.data, batch.offsets, competes, self.length, self.reach)
                if not self.corpus.scope.is_all:
                    scopes = self.corpus.scope.of(batch, self.corpus.names[number])
                    found = _within(found, scopes)
                    work.count(missing_scopes=missing_count(scopes))
                writer.write(found)
                work.count(bytes=len(batch.data), not_competing=int((~competes).sum()))
                work.progress(len(batch), len(batch.data))
            writer.close()
        competition.finish(reader)
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)
        work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)
        work.fact("pages", writer.pages)
        work.fact("keys", writer.keys)
        work.fact("shard", {"name": shard.name, "size": reader.size, "hash": reader.hash})

    def compare(self, part: KeyRange, work: Work) -> None:
        """Find out about a range of all cores where each occurs, and with how many scenes."""
        with work.create(self.partition_path("compare", part)) as stream:
            work.count(repeats=compare_partition(self._shard_paths("anchors"), self.corpus.kept, part, stream))

    def scenes(self, task: Task, work: Work) -> None:
        """Spill the text around the contested cores of a shard."""
        index: int = task.payload["index"]
        compared = self._found("compare", task.payload)
        with ExitStack() as stack:
            writer = SceneWriter(stack.enter_context(work.create(self.shard_path("scenes", index))))
            for number, page, batches in self._pages(task, work, stack):
                found = contested(page, Entries.of(compared.of(number), len(page.keys)), index, self.length)
                writer.write(found, [surroundings(batch, page, found.anchors, self.length) for batch in batches])
            writer.close()
        work.fact("tests", writer.tests)
        work.fact("windows", writer.windows)

    def settle(self, part: KeyRange, work: Work) -> None:
        """Find out about a range of all contested cores which of their windows occurred before."""
        with work.create(self.partition_path("settle", part)) as stream:
            paths, kept = self._shard_paths("scenes"), self.corpus.kept
            work.count(**settle_partition(paths, kept, part, self.length, self.reach, stream))

    def write(self, task: Task, work: Work) -> None:
        """Write the attributes of a shard."""
        index: int = task.payload["index"]
        compared, settled = self._found("compare", task.payload), self._found("settle", task.payload)
        places = Places(self.corpus.shard_name)
        with ExitStack() as stack:
            scenes = stack.enter_context(ArrayReader(self.shard_path("scenes", index)))
            writer = self._attributes(stack.enter_context(work.create(self.corpus.output(index))))
            for number, page, batches in self._pages(task, work, stack):
                entries = Entries.of(compared.of(number), len(page.keys))
                tests = scenes.read(f"{number}/keys")
                found = repeats(page, entries, tests, settled.of(number), index, self.length)
                for batch in batches:
                    rows = passage_rows(batch, found, self.rules.island, places)
                    writer.write(rows.ids, rows.columns)
                    work.count(documents=len(batch), **rows.counts)
            writer.close(**task.payload["about"])

    def _attributes(self, stream: storage.Writer) -> AttributeWriter:
        config = self.corpus.config
        about: dict[str, Plain] = {
            "tagger": "dedup", "version": self.version, "where": self.corpus.where, "scope": config.scope,
            "by": "substring", "substring": msgspec.to_builtins(self.rules),
        }  # fmt: skip
        types = {name: field.type for name, field in FIELDS.items()}
        return AttributeWriter(stream, self.corpus.set_name, types, about)

    def _pages(self, task: Task, work: Work, stack: ExitStack) -> Iterator[tuple[int, Page, Iterator[Batch]]]:
        """The pages of a shard with the batches of documents that each covers, which have to be used up."""
        index: int = task.payload["index"]
        spill = stack.enter_context(ArrayReader(self.shard_path("anchors", index)))
        reader = DocumentReader(self.corpus.shards[index][1], limit=self.corpus.config.limit)
        batches = iter(reader)
        row = 0
        for number in range(task.payload["pages"]):
            page = read_page(spill, number, row)
            row += len(page.counts)
            yield number, page, _up_to(row, batches, work)
        if next(batches, None) is not None or reader.hash != task.payload["about"]["shard"]["hash"]:
            raise DataError(f"{reader.path}: changed since its anchors were found; run again")
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)


def warm_up() -> None:
    """Compile the kernels of all passes, with arrays of the types that they will see."""
    length = 9
    batch = make_batch(["Warm up, once; warm up, once. Warm up, twice!"])
    assert batch.char_counts[0]
    found = find_anchors(batch.data, batch.offsets, np.ones(1, np.bool_), length, reach_of(length))
    distinct_keys(found.core, found.scene)
    count, rows = np.ones(len(found.core), np.uint32), np.zeros(len(found.core), np.uint32)
    compare_scenes(found.core, found.scene, count, key_order(found.core, found.scene))
    text, offsets = gather_ranges(batch.data, np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64))
    known = np.ones(len(rows), np.bool_)
    scenes = Scenes(found.core, found.scene, rows, found.start, found.lead, found.more, known, offsets, text)
    settle(scenes, np.uint32(0), length, reach_of(length), 1, with_room(empty_memory(2), 2))
    places = np.zeros(0, np.int64)
    join_ranges(batch.data, batch.offsets, np.zeros(1, np.int64), places, places, 0)


def _up_to(row: int, batches: Iterator[Batch], work: Work) -> Iterator[Batch]:
    """Batches until one ends at that row."""
    for batch in batches:
        yield batch
        work.progress(len(batch), len(batch.data))
        if batch.first_row + len(batch) >= row:
            return


def _within(anchors: Anchors, scopes: pa.Array) -> Anchors:
    """The cores made different wherever the scopes of their documents are."""
    data, offsets = value_bytes(scopes)
    parts = np.empty((len(anchors.core), 2), np.uint64)
    parts[:, 0] = np.repeat(hash128_ranges(data, offsets[:-1], offsets[1:])[:, 0], anchors.counts)
    parts[:, 1] = anchors.core
    ends = np.arange(16, 16 * len(parts) + 1, 16, dtype=np.int64)
    hashes = hash128_ranges(parts.astype("<u8").view(np.uint8).reshape(-1), ends - 16, ends)
    return anchors._replace(core=np.ascontiguousarray(hashes[:, 0]))
