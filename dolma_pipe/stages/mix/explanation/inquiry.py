"""A mix as somebody asks about it: the rules of each of its sources, where its attributes lie, single rows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from dolma_pipe import storage
from dolma_pipe.attributes import attribute_path
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.explain import closest
from dolma_pipe.manifest import MANIFEST
from dolma_pipe.mixer import Edit
from dolma_pipe.quarantine import unread
from dolma_pipe.rules import Expression, references
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.stages.mix.lock import NAME, read_lock
from dolma_pipe.stages.mix.stage import Mix
from dolma_pipe.types import Plain

pc: Any = pyarrow.compute
GUESSED = 8
"""Batches of ids that are looked through for those that come near one that is not there."""


class Deduped(NamedTuple):
    """A dedup of a source, as a lock has it: `prefer` is "first" or what is to be largest."""

    by: str
    prefer: str
    scope: str


class Asked(NamedTuple):
    """A source of a mix."""

    name: str
    attributes: str
    shards: list[Shard]
    rules: list[Expression]
    dedups: list[Deduped]
    edits: list[Edit]
    keep_after: int
    splits: list[str]
    is_sampled: bool
    read_limit: int | None = None
    """Documents of each shard that a limited mix reads."""

    @property
    def sets(self) -> list[str]:
        """Attribute sets that its steps read."""
        heads = {path[0] for rule in self.rules for path in references(rule) if len(path) > 1}
        named = heads | {dedup.by for dedup in self.dedups} | {edit.set_name for edit in self.edits}
        return sorted(name for name in named if self.has(name))

    def has(self, set_name: str) -> bool:
        return storage.stat(self.path(set_name, self.shards[0])) is not None

    def path(self, set_name: str, shard: Shard) -> str:
        return attribute_path(self.attributes, set_name, shard)


class Found(NamedTuple):
    """A document: row `row` of a shard of a source."""

    source: Asked
    shard: Shard
    row: int

    def values(self, set_name: str) -> pa.StructArray:
        """What a set says of it, as an array of one."""
        with storage.open_read(self.source.path(set_name, self.shard)) as stream:
            file = pq.ParquetFile(stream)
            first = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if self.row < first + count:
                    table: Any = file.read_row_group(group, columns=[set_name], use_threads=False)
                    return table.column(0).slice(self.row - first, 1).combine_chunks()
                first += count
        raise DataError(f"{self.source.path(set_name, self.shard)}: no row {self.row}; tag this shard again")


def made(home: str, datasets: Mapping[str, str]) -> list[Asked]:
    """The sources of a mix that was made; `datasets` says where they lie if not where the run found them."""
    lock = read_lock(home)
    unknown = next((name for name in datasets if name not in lock.sources), None)
    if unknown is not None:
        raise ConfigError(f"--dataset {unknown}=...: the mix has no such source (it has {', '.join(lock.sources)})")
    places = _places(home)
    found: list[Asked] = []
    for name, source in lock.sources.items():
        dataset = datasets.get(name) or places.get(name, {}).get("dataset", "")
        if not dataset or not storage.exists(storage.join(dataset, "documents")):
            raise DataError(f"{home}: the data set of source {name!r} is not there; say --dataset {name}=DIR")
        root = places.get(name, {}).get("attributes", "") if name not in datasets else ""
        head = f"{name}/documents/"
        names = sorted((i.name[len(head) :] for i in source.inputs if i.name.startswith(head)), key=str.encode)
        shards = [Shard(dataset, shard) for shard in names]
        where = root or storage.join(dataset, "attributes")
        found.append(_asked(name, lock.configuration["sources"][name], where, shards, lock.configuration.get("limit")))
    return found


def _places(home: str) -> dict[str, dict[str, str]]:
    """Where the last run of a mix found its data sets."""
    folder, found = storage.join(home, MANIFEST, "runs"), dict[str, dict[str, str]]()
    logs = [name for name in storage.listing(folder) if "-mix-" in name] if storage.exists(folder) else []
    for name in sorted(logs):
        content: Any = msgspec.json.decode(storage.read_bytes(storage.join(folder, name)))
        found |= content.get("places", {})
    return found


def planned(stage: Mix) -> list[Asked]:
    """The sources of a mix as its configuration has them."""
    plain: Any = msgspec.to_builtins(stage.ledger.configuration())
    return [
        _asked(source.name, plain["sources"][source.name], source.attributes, list(source.shards), source.read_limit)
        for source in stage.sources
    ]


def _asked(name: str, plain: Any, attributes: str, shards: list[Shard], limit: int | None) -> Asked:
    return Asked(
        name, attributes, shards,
        [Expression(rule, sql, NAME) for rule, sql in plain["rules"].items()],
        [Deduped(dedup["by"], dedup["prefer"], dedup["scope"]) for dedup in plain["dedups"]],
        msgspec.convert(plain["edits"], list[Edit]),
        plain["keep_after"],
        [split["name"] for split in plain["splits"]],
        bool(plain["sample"] or plain.get("limit")), limit,
    )  # fmt: skip


def find(sources: Sequence[Asked], document: str) -> list[Found]:
    """All rows with that id; without any, a `DataError` with the ids that come near."""
    found: list[Found] = []
    for source in sources:
        for shard in source.shards:
            row = 0
            for ids in ids_of(source, shard):
                places: list[int] = pc.indices_nonzero(pc.equal(ids[: _left(source, row)], document)).to_pylist()
                found += [Found(source, shard, row + place) for place in places]
                row += len(ids)
    if not found:
        _refuse_unread(sources, document)
        near = [repr(name) for name in _near(sources, document)]
        among = f" among the first {sources[0].read_limit:,} of a shard (limit)" if sources[0].read_limit else ""
        near_it = f"; near it: {', '.join(near)}" if near else ""
        raise DataError(f"no source of the mix has a document {document!r}{among}{near_it}")
    return found


def _refuse_unread(sources: Sequence[Asked], document: str) -> None:
    """An id that is a file, or a line of one, which never became a document: say why."""
    for source in sources:
        for dataset in dict.fromkeys(shard.dataset for shard in source.shards):
            for place, reason in unread(dataset):
                if document in (place, place.removesuffix("#1")):
                    raise DataError(f"{place} never became a document of {dataset}: {reason}")


def _left(source: Asked, row: int) -> int | None:
    """How many documents from a row on the mix reads; None for all."""
    return None if source.read_limit is None else max(source.read_limit - row, 0)


def _near(sources: Sequence[Asked], document: str) -> list[str]:
    """Ids that come near, among the first that there are."""
    near: list[tuple[float, str]] = []
    for ids in islice((ids for source in sources for shard in source.shards for ids in ids_of(source, shard)), GUESSED):
        near = closest(near, ids.to_pylist(), document)
    return [name for _, name in near]


def ids_of(source: Asked, shard: Shard) -> Iterator[pa.Array]:
    """The ids of a shard, from attributes where there are some: these are smaller."""
    if not source.sets:
        yield from (batch.ids for batch in DocumentReader(shard, ("id",)))
        return
    with storage.open_read(source.path(source.sets[0], shard)) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["id"], use_threads=False):
            yield batch.column(0)


def members(sources: Sequence[Asked], set_name: str, cluster: str) -> list[Found]:
    """All documents of a cluster, in the order of the data."""
    found: list[Found] = []
    for source in sources:
        for shard in source.shards if source.has(set_name) else ():
            with storage.open_read(source.path(set_name, shard)) as stream:
                table: Any = pq.ParquetFile(stream).read(columns=[f"{set_name}.cluster"], use_threads=False)
            names = pc.struct_field(table.column(0), "cluster").cast(pa.string())
            rows = np.flatnonzero(
                np.asarray(pc.fill_null(pc.equal(names, cluster), False).combine_chunks())[: source.read_limit]
            )
            found += [Found(source, shard, row) for row in rows.tolist()]
    return found


def plain(struct: pa.StructArray) -> Plain:
    """A row as plain data; None where the tagger was gated off."""
    return struct[0].as_py()
