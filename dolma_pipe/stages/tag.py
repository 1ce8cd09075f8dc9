"""tag: measure every document with every requested tagger, in one pass over each shard.

    documents/a/0001.jsonl.zst  ->  attributes/gopher/a/0001.parquet, attributes/pii/a/0001.parquet, ...

A shard is read once and each batch goes through all taggers that still miss it, in the order of the config.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter, attribute_path
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError
from dolma_pipe.fused import Fused
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.stage import Part, Stage, Task, Work
from dolma_pipe.types import Plain


class TagConfig(Config, frozen=True):
    """What `dolma-pipe tag` reads from YAML.

    `taggers` are names, `module:Class`, or `{name: SET, use: TAGGER, only_where: SQL, view: NAME, ...options}`.
    `attributes` is the folder for the results (default: `attributes/` in the data set; give it where the data set is
    read-only). `include`/`exclude` are globs over shard names, `limit` the documents read of each shard.
    """

    datasets: list[str]
    taggers: list[str | dict[str, Plain]]
    attributes: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: Annotated[int, Meta(gt=0)] | None = None
    max_bad_fraction: float = 0.01


class Tag(Stage):
    """Attributes of every shard, one set per tagger."""

    name: ClassVar[str] = "tag"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("tag",)

    def __init__(self, config: TagConfig) -> None:
        if not config.datasets or not config.taggers:
            raise ConfigError("tag: name at least one data set and one tagger (--taggers gopher,pii)")
        if config.attributes and len(config.datasets) > 1:
            raise ConfigError(
                "attributes: one folder cannot hold the attributes of several data sets; tag them one by one"
            )
        self.config = config
        self.max_bad_fraction = config.max_bad_fraction
        self.home = self._root(config.datasets[0])
        self._fused()  # refuses what cannot work

    def _fused(self) -> Fused:
        return _fused(msgspec.json.encode(self.config.taggers))

    def _root(self, dataset: str) -> str:
        return self.config.attributes or storage.join(dataset, "attributes")

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        fused = self._fused()
        definitions = {
            name: fingerprint((self.name, self.version, fused.definition(name), self.config.limit))
            for name in fused.specs
        }
        return [
            self._task(shard, number, definitions)
            for number, dataset in enumerate(self.config.datasets)
            for shard in document_shards(dataset, self.config.include, self.config.exclude)
        ]

    def _task(self, shard: Shard, number: int, definitions: dict[str, str]) -> Task:
        root = self._root(shard.dataset)
        parts = tuple(
            Part(name, storage.join(root, name, MANIFEST, shard.stem + ".json"), definition)
            for name, definition in definitions.items()
        )
        name = shard.stem if len(self.config.datasets) == 1 else f"{number}/{shard.stem}"
        return Task(name, inputs=(Ref(f"documents/{shard.name}", shard.path),), payload=tuple(shard), parts=parts)

    def record_folders(self) -> list[str]:
        names = list(self._fused().specs)
        return [storage.join(self._root(dataset), name, MANIFEST) for dataset in self.config.datasets for name in names]

    def still_wanted(self, record: Record) -> bool:
        # include/exclude may have left a shard out of this run: only those that are gone lose their attributes
        return any(storage.exists(storage.join(dataset, record.inputs[0].name)) for dataset in self.config.datasets)

    def warm(self) -> None:
        self._fused().warm()

    def run(self, phase: str, task: Task, work: Work) -> None:
        shard, fused = Shard(*task.payload), self._fused()
        root = self._root(shard.dataset)
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(storage.join(root, "_quarantine", shard.stem + ".jsonl")))
            reader = DocumentReader(shard, fused.columns(work.wanted), limit=self.config.limit, bad=bad)
            writers = {
                name: self._writer(stack, work, attribute_path(root, name, shard), name)
                for name in fused.specs
                if name in work.wanted
            }
            for batch in reader:
                measured = fused.measure(batch, writers)
                for name, writer in writers.items():
                    writer.write(batch.ids, *measured[name])
                work.progress(len(batch), len(batch.data))
                work.count(bytes=len(batch.data))
            measured_shard = {"name": shard.name, "size": reader.size, "hash": reader.hash}
            for writer in writers.values():
                writer.close(shard=measured_shard, bad_rows=reader.bad_rows)
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)
        work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)

    def _writer(self, stack: ExitStack, work: Work, path: str, name: str) -> AttributeWriter:
        fused = self._fused()
        types = {field: kind.type for field, kind in fused.taggers[name].fields.items()}
        nullable = fused.specs[name].only_where is not None
        return AttributeWriter(stack.enter_context(work.create(path, name)), name, types, fused.about(name), nullable)


@functools.cache
def _fused(taggers: bytes) -> Fused:
    """The taggers of a config, with their models, once per process."""
    return Fused(msgspec.json.decode(taggers))
