"""dedup: which documents, or paragraphs, are copies of which, over all data sets given.

    spill    per shard       documents -> keys, sorted and counted page by page
    resolve  per partition   a range of all keys -> which occur more than once, whose copy is first
    write    per shard       both -> attributes/dedup_<by>/**, row by row

Documented order is: data sets as given, shard path by bytes, row, position; the first copy has rank 0. Nothing
depends on how the work is split: keys are functions of the bytes alone and each phase puts its inputs in that order.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

import numpy as np

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter, attribute_path
from dolma_pipe.batch import make_batch
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.rules import conjunction
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.dedup import keys as keyed
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.clusters import RECORD_BYTES, page_entries, resolve_partition, warm_up
from dolma_pipe.stages.dedup.competing import Competition, Sets, columns, missing_set, needed_sets
from dolma_pipe.stages.dedup.results import DOCUMENT_FIELDS, PARAGRAPH_FIELDS, Places, document_rows, paragraph_rows
from dolma_pipe.stages.dedup.spill import Keyed, KeyRange, SpillWriter
from dolma_pipe.types import Counts, Plain
from dolma_pipe.url import UrlRules

SCRATCH = "_scratch"
PARTITION_BYTES = 64 << 20


class DedupConfig(Config, frozen=True):
    """What `dolma-pipe dedup` reads from YAML.

    `by`: url, text, paragraph, id, source, added, created or metadata.NAME (dotted). `name` is the attribute set
    (default `dedup_<by>`). `attributes` is the folder for the results (default: `attributes/` in each data set; with
    several data sets each gets a folder of its name in it). `where`: only documents that pass compete (SQL, a recipe's
    name, or a list of both). `limit`: documents read of each shard. `partition_bytes`: about the memory that one
    partition of the keys may take.
    """

    datasets: list[str]
    by: str
    name: str | None = None
    attributes: str | None = None
    where: str | list[str] | None = None
    url: UrlRules | None = None
    paragraph: keyed.ParagraphRules | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: int | None = None
    partition_bytes: int = PARTITION_BYTES
    max_bad_fraction: float = 0.01


class Dedup(Stage):
    """Attributes that say which documents or paragraphs have an equal one before them."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("spill", "resolve", "write")

    def __init__(self, config: DedupConfig) -> None:
        if not config.datasets:
            raise ConfigError("dedup: name at least one data set")
        self.config = config
        self.max_bad_fraction = config.max_bad_fraction
        self.keys = keyed.keys_of(config.by, config.url, config.paragraph)
        self.fields = PARAGRAPH_FIELDS if config.by == "paragraph" else DOCUMENT_FIELDS
        self.set_name = config.name or keyed.set_name(config.by)
        if not self.set_name.isidentifier() or self.set_name.startswith("_"):
            raise ConfigError(f"name: {self.set_name!r} cannot name an attribute set; use letters, digits and _")
        if config.partition_bytes < 1:
            raise ConfigError(f"partition_bytes: {config.partition_bytes} holds no key (default: {PARTITION_BYTES})")
        names = dataset_names(config.datasets)
        self.roots = [self._root(dataset, name) for dataset, name in zip(config.datasets, names, strict=True)]
        self.home = storage.join(self.roots[0], self.set_name)
        self.dataset_names = names
        self.shards: list[tuple[int, Shard]] = []  # number of the data set, shard; filled by the plan
        self.where = conjunction(config.where)
        self.sets: Sets = {}

    def _root(self, dataset: str, name: str) -> str:
        if self.config.attributes is None:
            return storage.join(dataset, "attributes")
        return storage.join(self.config.attributes, name if len(self.config.datasets) > 1 else "")

    def _folder(self, index: int) -> str:
        """The set's folder of the data set that shard `index` belongs to."""
        return storage.join(self.roots[self.shards[index][0]], self.set_name)

    def _task_name(self, index: int) -> str:
        number, shard = self.shards[index]
        return f"{number}/{shard.stem}"

    def _spill_path(self, index: int) -> str:
        return storage.join(self._folder(index), SCRATCH, "spill", self._task_name(index) + ".arrays")

    def _partition_path(self, part: KeyRange) -> str:
        return storage.join(self.home, SCRATCH, "resolve", _partition_name(part) + ".arrays")

    def scratch_folders(self) -> list[str]:
        return [storage.join(root, self.set_name, SCRATCH) for root in self.roots]

    def record_folders(self) -> list[str]:
        return [storage.join(root, self.set_name, MANIFEST, phase) for root in self.roots for phase in self.phases]

    def warm(self) -> None:
        one: list[str | None] = ["warm", None]
        texts = ["Warm up, once.\nThe quick brown fox jumps!\n", ""]
        batch = make_batch(texts, source=one, added=one, created=one, metadata=["{}", None])
        warm_up(self.keys.of(batch, np.ones(len(batch), np.bool_)))

    # What is to do

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == "spill":
            self._look()
            return [self._spill_task(index) for index in range(len(self.shards))]
        if phase == "resolve":
            self._refuse_inert(done["spill"])
            spilled = fingerprint([record.digest() for record in done["spill"]])
            return [self._resolve_task(part, spilled) for part in self._partitions(done["spill"])]
        return self._write_tasks(done["spill"], done["resolve"])

    def _look(self) -> None:
        """Find the shards, and the attribute sets that `where` reads."""
        config = self.config
        self.shards = [
            (number, shard)
            for number, dataset in enumerate(config.datasets)
            for shard in document_shards(dataset, config.include, config.exclude)
        ]
        self.sets = needed_sets(self.where, self.roots[0], self.shards[0][1]) if self.where else {}
        if self.set_name in self.sets:
            raise ConfigError(f"where: reads {self.set_name!r}, the set this run writes; give --name another name")

    def _names(self) -> list[tuple[str, str]]:
        """What every shard is called in `duplicate_of`."""
        return [(self.dataset_names[number], shard.name) for number, shard in self.shards]

    def _spill_task(self, index: int) -> Task:
        number, shard = self.shards[index]
        root = self.roots[number]
        missing_set(self.sets, root, shard)
        refs = [Ref(f"documents/{shard.name}", shard.path)]
        refs += [Ref(f"attributes/{name}/{shard.stem}", attribute_path(root, name, shard)) for name in self.sets]
        about = (self.keys.about, self.where, self.config.limit)
        definition = fingerprint((self.name, self.version, "spill", about))
        return Task(self._task_name(index), self._record("spill", index), definition, tuple(refs), index, scratch=True)

    def _record(self, phase: str, index: int) -> str:
        return storage.join(self._folder(index), MANIFEST, phase, self._task_name(index) + ".json")

    def _refuse_inert(self, spilled: list[Record]) -> None:
        documents, excluded = _total(spilled, "documents"), _total(spilled, "not_competing")
        if documents and excluded == documents:
            raise DataError(f"dedup: no document passes --where ({self.where}); nothing would be compared")
        if documents and not _total(spilled, "keyed"):
            raise DataError(f"dedup by {self.config.by}: {self.keys.missing} (of {documents}); nothing was compared")

    def _partitions(self, spilled: list[Record]) -> list[KeyRange]:
        size = sum(RECORD_BYTES * record.facts["keys"] + record.facts["key_bytes"] for record in spilled)
        count = max(1, -(-size // self.config.partition_bytes))
        return [KeyRange(index, count) for index in range(count)]

    def _resolve_task(self, part: KeyRange, spilled: str) -> Task:
        definition = fingerprint((self.name, self.version, "resolve", part, spilled))
        record = storage.join(self.home, MANIFEST, "resolve", _partition_name(part) + ".json")
        return Task(_partition_name(part), record, definition, payload=tuple(part), scratch=True)

    def _write_tasks(self, spilled: list[Record], resolved: list[Record]) -> list[Task]:
        pages = [record.facts["pages"] for record in spilled]
        digests = [record.digest() for record in resolved]
        shared = fingerprint((self.name, self.version, "write", self.set_name, self._names(), digests))
        tasks: list[Task] = []
        for index, record in enumerate(spilled):
            payload = {"index": index, "pages": pages, "partitions": len(resolved), "shard": _measured(record)}
            definition = fingerprint((shared, record.digest()))
            tasks.append(Task(self._task_name(index), self._record("write", index), definition, payload=payload))
        return tasks

    # Doing it

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "spill":
            self._spill(task, work)
        elif phase == "resolve":
            self._resolve(KeyRange(*task.payload), work)
        else:
            self._write(task.payload, work)

    def _spill(self, task: Task, work: Work) -> None:
        number, shard = self.shards[task.payload]
        root = self.roots[number]
        competition = Competition(self.where, self.sets, root, shard)
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(storage.join(root, "_quarantine", shard.stem + ".jsonl")))
            reader = DocumentReader(shard, self._columns(), limit=self.config.limit, bad=bad)
            writer = SpillWriter(stack.enter_context(work.create(self._spill_path(task.payload))))
            for batch in reader:
                competes = competition.of(batch)
                found = self.keys.of(batch, competes)
                writer.write(found)
                size = len(batch.data) if "text" in reader.columns else 0
                work.count(**_counts(competes, found), **({"bytes": size} if size else {}))
                work.progress(len(batch), size)
            writer.close()
        competition.finish(reader)
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)
        bad_bytes = reader.bad_bytes if "text" in reader.columns else 0  # bytes are compared with bytes, or not at all
        work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=bad_bytes)
        for name in ("pages", "keys", "key_bytes"):
            work.fact(name, getattr(writer, name))
        work.fact("shard", {"name": shard.name, "size": reader.size, "hash": reader.hash})

    def _columns(self) -> tuple[str, ...]:
        own = columns(self.where) if self.where else set[str]()
        return tuple(dict.fromkeys((*self.keys.columns, *sorted(own))))

    def _with_ids(self) -> bool:
        return self.config.by != "paragraph"

    def _resolve(self, part: KeyRange, work: Work) -> None:
        paths = [self._spill_path(index) for index in range(len(self.shards))]
        with work.create(self._partition_path(part)) as stream:
            stream.rows = resolve_partition(paths, part, self._with_ids(), stream)

    def _write(self, payload: Plain, work: Work) -> None:
        index, pages, count = payload["index"], payload["pages"], payload["partitions"]
        number, shard = self.shards[index]
        about: dict[str, Plain] = {"tagger": "dedup", "version": self.version, "where": self.where}
        types = {name: field.type for name, field in self.fields.items()}
        rows_of = document_rows if self._with_ids() else paragraph_rows
        places = Places(self._names(), pages)
        with ExitStack() as stack:
            spill = stack.enter_context(ArrayReader(self._spill_path(index)))
            parts = [stack.enter_context(ArrayReader(self._partition_path(KeyRange(i, count)))) for i in range(count)]
            stream = stack.enter_context(work.create(attribute_path(self.roots[number], self.set_name, shard)))
            writer = AttributeWriter(stream, self.set_name, types, {**about, **self.keys.about}, nullable=True)
            for page in range(pages[index]):
                found = page_entries(parts, sum(pages[:index]) + page, spill.length(f"{page}/keys"), self._with_ids())
                rows = rows_of(spill, page, found, places)
                writer.write(rows.ids, rows.columns)
                work.count(documents=len(rows.ids), **rows.counts)
                work.progress(len(rows.ids))
            writer.close(**payload["shard"])


def _partition_name(part: KeyRange) -> str:
    return f"partition-{part.number:05d}-of-{part.of:05d}"


def _counts(competes: keyed.Mask, found: Keyed) -> Counts:
    passed, with_key = int(competes.sum()), int((found.counts > 0).sum())
    return {"keyed": with_key, "missing_keys": passed - with_key, "not_competing": len(competes) - passed}


def _total(records: list[Record], name: str) -> int:
    return sum(record.counts.get(name, 0) for record in records)


def _measured(record: Record) -> dict[str, Plain]:
    """What the attribute file's footer says about the shard."""
    return {"shard": record.facts["shard"], "bad_rows": record.counts.get("bad_rows", 0)}


def dataset_names(datasets: list[str]) -> list[str]:
    """What each data set is called in `duplicate_of`: the last part of its path, or as many as tell them apart."""
    parts = [dataset.rstrip("/").split("/") for dataset in datasets]
    for depth in range(1, max(len(found) for found in parts) + 1):
        names = ["/".join(found[-depth:]) for found in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(dataset for dataset, found in zip(datasets, parts, strict=True) if parts.count(found) > 1)
    raise ConfigError(f"dedup: the data set {twice!r} is given twice")
