"""Every value of one document: measured now, or as the attributes have it. Nothing is written."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader, attribute_path, attribute_sets
from dolma_pipe.batch import Batch
from dolma_pipe.errors import DataError
from dolma_pipe.fused import Fused
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.types import Plain
from dolma_pipe.view import is_spans

pc: Any = pyarrow.compute
GUESSES = 3

Values = dict[str, Any] | None
"""Field -> value; None where a gate kept the tagger from the document."""


class Copy(NamedTuple):
    """One occurrence of an id: ids need not be unique, so rows are addressed by shard and row."""

    shard: Shard
    batch: Batch

    @property
    def row(self) -> int:
        return self.batch.first_row


class Explained(NamedTuple):
    """A document with every value of every set; `spans` names the fields of a set that mark its text."""

    dataset: str
    shard: str
    row: int
    id: str
    text: str
    values: dict[str, Values]
    spans: dict[str, list[str]]


def copies(shards: Iterable[Shard], wanted: str, columns: Sequence[str], limit: int | None = None) -> list[Copy]:
    """All documents of that id, each as a batch of one; without any a `DataError` with the ids that come near."""
    found: list[Copy] = []
    near: list[tuple[float, str]] = []
    for shard in shards:
        for batch in DocumentReader(shard, columns, limit=limit):
            rows = pc.indices_nonzero(pc.equal(batch.ids, wanted))
            for row in rows.to_pylist():
                part = batch.columns.take(pa.array([row]))
                found.append(Copy(shard, Batch(batch.shard, batch.first_row + row, part)))
            near = near if found else closest(near, batch.ids.to_pylist(), wanted)
    if found:
        return found
    hint = f"; near it: {', '.join(repr(name) for _, name in near)}" if near else ""
    raise DataError(f"no document has the id {wanted!r}{hint}")


def closest(near: list[tuple[float, str]], names: list[str], wanted: str) -> list[tuple[float, str]]:
    """Those of some more ids, and of those found so far, that come nearest to what was asked for."""
    scored = {*near, *((closeness(name, wanted), name) for name in names)}
    return [found for found in heapq.nlargest(GUESSES, scored) if found[0] > 0]


def closeness(name: str, wanted: str) -> float:
    """What share of the longer one both begin and end with, 0 to 1; a mistyped or shortened id comes close."""
    longest = max(len(name), len(wanted), 1)
    ahead = _common(name, wanted)
    return min(ahead + _common(name[::-1], wanted[::-1]), len(name), len(wanted)) / longest


def _common(first: str, second: str) -> int:
    count = 0
    for a, b in zip(first.casefold(), second.casefold(), strict=False):
        if a != b:
            break
        count += 1
    return count


def measured(
    taggers: Sequence[str | dict[str, Plain]], shards: Iterable[Shard], wanted: str, limit: int | None = None
) -> list[Explained]:
    """What the taggers of a config say of the document, in the config's order."""
    fused = Fused(taggers)
    names = list(fused.specs)
    found = copies(shards, wanted, fused.columns(names), limit)
    return [_explained(copy, _structs(fused, copy.batch)) for copy in found]


def _structs(fused: Fused, batch: Batch) -> dict[str, pa.StructArray]:
    values = fused.measure(batch, list(fused.specs))
    return {name: values[name].struct(fused.taggers[name]) for name in fused.specs}


def stored(roots: dict[str, str], shards: Iterable[Shard], wanted: str, limit: int | None = None) -> list[Explained]:
    """What the attributes below `roots` (data set -> folder) say of the document: every set that has its shard."""
    return [
        _explained(copy, _rows(roots[copy.shard.dataset], copy))
        for copy in copies(shards, wanted, ("id", "text"), limit)
    ]


def _rows(root: str, copy: Copy) -> dict[str, pa.StructArray]:
    paths = {name: attribute_path(root, name, copy.shard) for name in attribute_sets(root) if not name.startswith("_")}
    readers = {name: AttributeReader(path, name) for name, path in paths.items() if storage.exists(path)}
    if not readers:
        raise DataError(
            f"{root}: no attributes of {copy.shard.name}; name what to measure now, as in --taggers gopher,pii"
        )
    found: dict[str, pa.StructArray] = {}
    documents = DocumentReader(copy.shard, ("id",))
    for batch in documents:
        structs = {name: reader.read(batch.ids) for name, reader in readers.items()}
        row = copy.row - batch.first_row
        if 0 <= row < len(batch):
            found = {name: struct.slice(row, 1) for name, struct in structs.items()}
    for reader in readers.values():
        reader.finish(documents.hash, documents.bad_rows)  # refuses attributes of a shard that has changed since
    return found


def _explained(copy: Copy, structs: dict[str, pa.StructArray]) -> Explained:
    values = {name: struct[0].as_py() for name, struct in structs.items()}
    spans = {name: [field.name for field in struct.type if is_spans(field.type)] for name, struct in structs.items()}
    name, text = copy.batch.ids[0].as_py(), copy.batch.text(0)
    return Explained(copy.shard.dataset, copy.shard.name, copy.row, name, text, values, spans)
