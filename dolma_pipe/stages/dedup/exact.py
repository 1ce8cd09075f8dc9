"""Exact deduplication: which documents, or paragraphs, are copies of which, over all data sets given.

    keep     per shard       documents that were kept before -> keys, which stay for the next time
    spill    per shard       documents -> keys, sorted and counted page by page
    resolve  per partition   a range of all keys -> which occur more than once, whose copy is first
    write    per shard       both -> attributes/dedup_<by>/**, row by row

Documented order is: data sets kept before, then those given, shard path by bytes, row, position; the first copy has
rank 0. Nothing depends on how the work is split: keys are functions of the bytes alone and each phase puts its inputs
in that order. In the folder of the attribute set, `_manifest` has the records of the results; `_keys` has all else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import numpy as np

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter
from dolma_pipe.batch import make_batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.clusters import RECORD_BYTES, page_entries, resolve_partition, warm_up
from dolma_pipe.stages.dedup.config import DedupConfig
from dolma_pipe.stages.dedup.corpus import KEYS, SCRATCH, Corpus
from dolma_pipe.stages.dedup.documents import FIELDS, DocumentKeys
from dolma_pipe.stages.dedup.inert import refuse_inert, total
from dolma_pipe.stages.dedup.keys import Keys, Mask
from dolma_pipe.stages.dedup.pages import PageRows
from dolma_pipe.stages.dedup.paragraphs import NgramKeys, ParagraphKeys, ParagraphRules, check
from dolma_pipe.stages.dedup.results import Page, Places
from dolma_pipe.stages.dedup.scopes import missing_count, within
from dolma_pipe.stages.dedup.spill import Keyed, KeyRange, SpillWriter
from dolma_pipe.types import Counts, Plain


def keys_of(config: DedupConfig) -> Keys:
    """The keys that `by` names."""
    by = config.by
    if by == "paragraph":
        rules = check(config.paragraph or ParagraphRules())
        return NgramKeys(rules, rules.by_ngram) if rules.by_ngram else ParagraphKeys(rules)
    if by in ("url", "text", *FIELDS) or (by.startswith("metadata.") and by != "metadata."):
        return DocumentKeys(by, config.url, config.text)
    hint = "; lines are paragraphs whose separator is a newline, as it is by default" if by == "line" else ""
    kinds = ", ".join(("url", "text", "paragraph", "substring", "minhash", *FIELDS))
    raise ConfigError(f"by: {by!r} is not one of {kinds}, metadata.NAME{hint}")


class ExactDedup(Stage):
    """Attributes that say which documents or paragraphs have an equal one before them."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 3
    kept_phases = ("keep",)

    def __init__(self, config: DedupConfig) -> None:
        self.config = config
        self.corpus = Corpus(config)
        self.home = self.corpus.home
        self.max_bad_fraction = config.max_bad_fraction
        self.keys = keys_of(config)
        self.phases = (*(("keep",) if config.against else ()), "spill", "resolve", "write")

    # Where things lie

    def _keys_path(self, index: int) -> str:
        folder = storage.join(self.corpus.folder(index), KEYS)
        place = "kept" if index < self.corpus.kept else storage.join(SCRATCH, "spill")
        return storage.join(folder, place, self.corpus.shards[index][1].stem + ".arrays")

    def _partition_path(self, part: KeyRange) -> str:
        return storage.join(self.home, KEYS, SCRATCH, "resolve", part.name + ".arrays")

    def _record(self, phase: str, index: int) -> str:
        keys = () if phase == "write" else (KEYS,)
        inner = () if phase == "write" else (phase,)
        stem = self.corpus.shards[index][1].stem
        return storage.join(self.corpus.folder(index), *keys, MANIFEST, *inner, stem + ".json")

    def scratch_folders(self) -> list[str]:
        return [storage.join(folder, KEYS, SCRATCH) for folder in self.corpus.folders]

    def record_folders(self) -> list[str]:
        old = len(self.config.against)
        kept = [storage.join(folder, KEYS, MANIFEST, "keep") for folder in self.corpus.folders[:old]]
        new = self.corpus.folders[old:]
        keys = [storage.join(folder, KEYS, MANIFEST, phase) for folder in new for phase in ("spill", "resolve")]
        return [*kept, *keys, *(storage.join(folder, MANIFEST) for folder in new)]

    # What is to do

    def warm(self) -> None:
        one: list[str | None] = ["warm", None]
        texts = ["Warm up, once.\nThe quick brown fox jumps!\n", ""]
        batch = make_batch(texts, source=one, added=one, created=one, metadata=["{}", None])
        warm_up(self.keys.of(batch, np.ones(len(batch), np.bool_)))

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == self.phases[0]:
            self.corpus.look()
        if phase == "keep":
            return [self._keep_task(index) for index in range(self.corpus.kept)]
        if phase == "spill":
            return [self._spill_task(index) for index in self.corpus.new]
        if phase == "resolve":
            spilled = done["spill"]
            refuse_inert(self.corpus, spilled, total(spilled, "keyed"), self.keys.missing)
            return self._resolve_tasks([*done.get("keep", ()), *done["spill"]])
        self._refuse_unexpected(done)
        return self._write_tasks(done["spill"], done["resolve"])

    def _keep_task(self, index: int) -> Task:
        about = (self.keys.about, self.config.scope, self.config.limit)
        definition = fingerprint((self.name, self.version, "keep", about))
        inputs = self.corpus.inputs(index)
        return Task(self.corpus.task_name(index), self._record("keep", index), definition, inputs, index)

    def _spill_task(self, index: int) -> Task:
        corpus = self.corpus
        about = (self.keys.about, corpus.where, self.config.scope, self.config.limit)
        names = corpus.names[corpus.shards[index][0]] if self.config.scope == "dataset" else None
        definition = fingerprint((self.name, self.version, "spill", about, names))
        inputs = corpus.inputs(index)
        return Task(corpus.task_name(index), self._record("spill", index), definition, inputs, index, scratch=True)

    def _refuse_unexpected(self, done: dict[str, list[Record]]) -> None:
        if self.config.expect_duplicates and not sum(output.rows for r in done["resolve"] for output in r.outputs):
            against = f" or in {' and '.join(self.config.against)}" if self.config.against else ""
            raise DataError(
                f"dedup by {self.config.by}: of the keys of {total(done['spill'], 'keyed')} documents none occurs "
                f"again here{against}, and duplicates were expected; compare by another key, or a normalised one, "
                "or run without --expect-duplicates"
            )

    def _resolve_tasks(self, spilled: list[Record]) -> list[Task]:
        size = sum(RECORD_BYTES * record.facts["keys"] + record.facts["key_bytes"] for record in spilled)
        count = max(1, -(-size // self.config.partition_bytes))
        about = (self.corpus.kept, fingerprint([record.digest() for record in spilled]))
        tasks: list[Task] = []
        for part in (KeyRange(index, count) for index in range(count)):
            definition = fingerprint((self.name, self.version, "resolve", part, about))
            record = storage.join(self.home, KEYS, MANIFEST, "resolve", part.name + ".json")
            tasks.append(Task(part.name, record, definition, payload=tuple(part), scratch=True))
        return tasks

    def _write_tasks(self, spilled: list[Record], resolved: list[Record]) -> list[Task]:
        names = [self.corpus.shard_name(index) for index in range(len(self.corpus.shards))]
        digests = [record.digest() for record in resolved]
        shared = fingerprint((self.name, self.version, "write", self.corpus.set_name, names, digests))
        tasks: list[Task] = []
        first = 0
        for index, record in zip(self.corpus.new, spilled, strict=True):
            about = {"shard": record.facts["shard"], "bad_rows": record.counts.get("bad_rows", 0)}
            pages: int = record.facts["pages"]
            payload = {"index": index, "first": first, "pages": pages, "partitions": len(resolved), "about": about}
            definition = fingerprint((shared, record.digest()))
            tasks.append(Task(self.corpus.task_name(index), self._record("write", index), definition, payload=payload))
            first += pages
        return tasks

    # Doing it

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase in ("keep", "spill"):
            self._spill(task, work)
        elif phase == "resolve":
            self._resolve(KeyRange(*task.payload), work)
        else:
            self._write(task.payload, work)

    def _spill(self, task: Task, work: Work) -> None:
        index: int = task.payload
        number, shard = self.corpus.shards[index]
        kept = index < self.corpus.kept
        competition = self.corpus.competition(index)
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(self.corpus.quarantine(index)))
            columns = tuple(dict.fromkeys((*self.keys.columns, *self.corpus.columns())))
            reader = DocumentReader(shard, columns, limit=self.config.limit, bad=bad)
            stream = stack.enter_context(work.create(self._keys_path(index)))
            writer = SpillWriter(stream, self.keys.with_ids, with_records=not kept)
            for batch in reader:
                competes = competition.of(batch)
                found = self.keys.of(batch, competes)
                if not self.corpus.scope.is_all:
                    scopes = self.corpus.scope.of(batch, self.corpus.names[number])
                    found = within(found, scopes)
                    work.count(missing_scopes=missing_count(scopes))
                writer.write(found)
                size = len(batch.data) if "text" in columns else 0
                work.count(**_counts(competes, found), **({"bytes": size} if size else {}))
                work.progress(len(batch), size)
            writer.close()
        competition.finish(reader)
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)
        bad_bytes = reader.bad_bytes if "text" in columns else 0  # bytes are compared with bytes, or not at all
        work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=bad_bytes)
        for name in ("pages", "keys", "key_bytes"):
            work.fact(name, getattr(writer, name))
        work.fact("shard", {"name": shard.name, "size": reader.size, "hash": reader.hash})

    def _resolve(self, part: KeyRange, work: Work) -> None:
        paths = [self._keys_path(index) for index in range(len(self.corpus.shards))]
        with work.create(self._partition_path(part)) as stream:
            stream.rows = resolve_partition(paths, self.corpus.kept, part, self.keys.with_ids, stream)

    def _write(self, payload: Plain, work: Work) -> None:
        index: int = payload["index"]
        places = Places(self.corpus.shard_name)
        with ExitStack() as stack:
            spill = stack.enter_context(ArrayReader(self._keys_path(index)))
            writer = self._attributes(stack.enter_context(work.create(self.corpus.output(index))))
            for page in self._pages(spill, payload):
                rows = self.keys.rows(page, places)
                writer.write(rows.ids, rows.columns)
                work.count(documents=len(rows.ids), **rows.counts)
                work.progress(len(rows.ids))
            writer.close(**payload["about"])

    def _attributes(self, stream: storage.Writer) -> AttributeWriter:
        about: dict[str, Plain] = {
            "tagger": "dedup", "version": self.version, "where": self.corpus.where, "scope": self.config.scope,
        }  # fmt: skip
        types = {name: field.type for name, field in self.keys.fields.items()}
        return AttributeWriter(stream, self.corpus.set_name, types, {**about, **self.keys.about}, nullable=True)

    def _pages(self, spill: ArrayReader, payload: Plain) -> Iterator[Page]:
        """The pages of a shard with what became of their keys."""
        paths = [
            self._partition_path(KeyRange(number, payload["partitions"])) for number in range(payload["partitions"])
        ]
        found = PageRows(paths, payload["first"], payload["pages"])
        for number in range(payload["pages"]):
            entries = page_entries(*found.with_ids(number), spill.length(f"{number}/keys"))
            yield Page(spill, number, entries)


def _counts(competes: Mask, found: Keyed) -> Counts:
    passed, with_key = int(competes.sum()), int((found.counts > 0).sum())
    return {"keyed": with_key, "missing_keys": passed - with_key, "not_competing": len(competes) - passed}
