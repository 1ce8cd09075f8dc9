"""tag: measure every document with every requested tagger, in one pass over each shard.

    documents/a/0001.jsonl.zst  ->  attributes/gopher/a/0001.parquet, attributes/pii/a/0001.parquet, ...

A shard is read once and each batch goes through all taggers that still miss it, in the order of the config.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe import rules, storage
from dolma_pipe.attributes import AttributeWriter, attribute_path
from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError, DataError, PipeError
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.rules import Expression
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.stage import Part, Stage, Task, Work
from dolma_pipe.tagger import Spec, Tagger, load, spec
from dolma_pipe.types import Plain

_Measured = dict[str, tuple[dict[str, Any], pa.Array | None]]
"""Per attribute set: values per field, and which rows are null because the tagger was gated off."""


class TagConfig(Config, frozen=True):
    """What `dolma-pipe tag` reads from YAML.

    `taggers` are names, `module:Class`, or `{name: SET, use: TAGGER, only_where: SQL, ...options}`. `attributes` is
    the folder for the results (default: `attributes/` in the data set; give it where the data set is read-only).
    `include`/`exclude` are globs over shard names, `limit` the documents read of each shard.
    """

    datasets: list[str]
    taggers: list[str | dict[str, Plain]]
    attributes: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: int | None = None
    max_bad_fraction: float = 0.01


class Tag(Stage):
    """Attributes of every shard, one set per tagger."""

    name: ClassVar[str] = "tag"
    version: ClassVar[int] = 1
    phases: ClassVar[tuple[str, ...]] = ("tag",)

    def __init__(self, config: TagConfig) -> None:
        if config.attributes and len(config.datasets) > 1:
            raise ConfigError(
                "attributes: one folder cannot hold the attributes of several data sets; tag them one by one"
            )
        self.config = config
        self.max_bad_fraction = config.max_bad_fraction
        self.specs = _specs(config.taggers)
        self.home = self._root(config.datasets[0]) if config.datasets else ""
        if not config.datasets or not self.specs:
            raise ConfigError("tag: name at least one data set and one tagger (--taggers gopher,pii)")
        self.gates = {name: self._gate(found) for name, found in self.specs.items() if found.only_where}

    def _root(self, dataset: str) -> str:
        return self.config.attributes or storage.join(dataset, "attributes")

    def _gate(self, found: Spec) -> tuple[Expression, list[str]]:
        """A tagger's `only_where` and the sets it looks at: taggers that stand before it in the config."""
        expression = rules.named(f"{found.name}.only_where", found.only_where, "taggers")
        names = list(self.specs)
        before = names[: names.index(found.name)]
        fields = {name: list(_tagger(_key(self.specs[name])).fields) for name in before}
        return expression, [name for name in rules.needed_fields([expression], fields) if name in fields]

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        definitions = {name: self._definition(found) for name, found in self.specs.items()}
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

    def _definition(self, found: Spec) -> str:
        about = [_about(found, _tagger(_key(found))), self.config.limit, tuple(_tagger(_key(found)).fields)]
        if found.name in self.gates:
            about += [self._definition(self.specs[name]) for name in self.gates[found.name][1]]
        return fingerprint((self.name, self.version, found.name, about))

    def record_folders(self) -> list[str]:
        return [
            storage.join(self._root(dataset), name, MANIFEST) for dataset in self.config.datasets for name in self.specs
        ]

    def still_wanted(self, record: Record) -> bool:
        # include/exclude may have left a shard out of this run: only those that are gone lose their attributes
        return any(storage.exists(storage.join(dataset, record.inputs[0].name)) for dataset in self.config.datasets)

    def warm(self) -> None:
        batch = make_batch(["Warm up, once.\nThe quick brown fox!\n\n- a@b.org …\n", ""], metadata=["{}", None])
        for found in self.specs.values():
            if ":" not in found.use:  # a stranger's tagger is met with real documents first
                _tagger(_key(found)).tag(batch)

    def run(self, phase: str, task: Task, work: Work) -> None:
        shard = Shard(*task.payload)
        root = self._root(shard.dataset)
        wanted = {name: found for name, found in self.specs.items() if name in work.wanted}
        taggers = {name: _tagger(_key(found)) for name, found in self.specs.items()}
        needed = self._with_gates(wanted)
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(storage.join(root, "_quarantine", shard.stem + ".jsonl")))
            columns = dict.fromkeys(("id", "text", *(c for name in needed for c in taggers[name].columns)))
            reader = DocumentReader(shard, tuple(columns), limit=self.config.limit, bad=bad)
            writers = {
                name: AttributeWriter(
                    stack.enter_context(work.create(attribute_path(root, name, shard), name)),
                    name,
                    {field: value.type for field, value in taggers[name].fields.items()},
                    _about(found, taggers[name]),
                    nullable=name in self.gates,
                )
                for name, found in wanted.items()
            }
            for batch in reader:
                measured = self._measure(batch, needed, taggers)
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

    def _with_gates(self, wanted: dict[str, Spec]) -> list[str]:
        """The sets to compute: those wanted, and those that a gate of them looks at, in the config's order."""
        needed = set(wanted)
        for name in reversed(self.specs):
            if name in needed and name in self.gates:
                needed |= set(self.gates[name][1])
        return [name for name in self.specs if name in needed]

    def _measure(self, batch: Batch, names: list[str], taggers: dict[str, Tagger]) -> _Measured:
        measured: _Measured = {}
        for name in names:
            if name in self.gates:
                measured[name] = _gated(*self.gates[name], name, taggers, batch, measured)
            else:
                measured[name] = (_values(taggers[name], name, batch), None)
        return measured


def _specs(taggers: list[str | dict[str, Plain]]) -> dict[str, Spec]:
    found = [spec(value) for value in taggers]
    specs = {one.name: one for one in found}
    if len(specs) < len(found):
        twice = next(one.name for one in found if [other.name for other in found].count(one.name) > 1)
        raise ConfigError(f"taggers: the name {twice!r} is used twice; give one of them another name")
    return specs


def _key(found: Spec) -> bytes:
    return msgspec.json.encode(found, order="deterministic")


@functools.cache
def _tagger(encoded: bytes) -> Tagger:
    """One tagger, with its model, per process."""
    return load(msgspec.json.decode(encoded, type=Spec))


def _about(found: Spec, tagger: Tagger) -> dict[str, Plain]:
    about: dict[str, Plain] = {"tagger": found.use, "options": found.options, "version": tagger.version}
    return {**about, "model_hash": tagger.model_hash, "only_where": found.only_where}


def _values(tagger: Tagger, name: str, batch: Batch) -> dict[str, Any]:
    try:
        return tagger.tag(batch)
    except PipeError:
        raise
    except Exception as error:
        rows = f"rows {batch.first_row} to {batch.first_row + len(batch) - 1}"
        raise DataError(f"{batch.shard}: the tagger {name!r} failed on {rows}: {error!r}") from error


def _gated(
    gate: Expression, sets: list[str], name: str, taggers: dict[str, Tagger], batch: Batch, measured: _Measured
) -> tuple[dict[str, Any], pa.Array | None]:
    """Measure only the documents that pass the gate; the others get null."""
    table = _gate_table(sets, taggers, batch, measured)
    passed = rules.Evaluator([gate], table.schema).evaluate(table, batch.shard)[0]
    chosen = np.flatnonzero(passed)
    part = Batch(batch.shard, batch.first_row, batch.columns.take(pa.array(chosen)))
    values = _values(taggers[name], name, part) if len(chosen) else {}
    places = pa.array(np.cumsum(passed) - 1, mask=~passed)
    fields = taggers[name].fields
    arrays = {field: pa.array(values.get(field, []), kind.type).take(places) for field, kind in fields.items()}
    return arrays, pa.array(~passed)


def _gate_table(sets: list[str], taggers: dict[str, Tagger], batch: Batch, measured: _Measured) -> pa.Table:
    columns: dict[str, pa.Array] = {"id": batch.ids}
    for name in sets:
        values, null = measured[name]
        kinds = [pa.field(field, kind.type) for field, kind in taggers[name].fields.items()]
        arrays = [pa.array(values[kind.name], kind.type) for kind in kinds]
        columns[name] = pa.StructArray.from_arrays(arrays, fields=kinds, mask=null)
    return pa.table(columns)
