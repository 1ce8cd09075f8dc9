"""Everything that is not in a mix, and why: files that never became documents, and every document that was dropped.

Rules are judged again, from attributes; what was written is read from the mix's provenance. So no text is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader
from dolma_pipe.quarantine import unread
from dolma_pipe.rules import Evaluator, references
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.stages.mix.explanation.inquiry import Asked, ids_of
from dolma_pipe.stages.mix.explanation.whereabouts import folders_in, provenance

pc: Any = pyarrow.compute
Array = npt.NDArray[Any]
PLAIN = ("source", "created")
"""What rules may read of a document beside attributes and its id."""


class Absence(msgspec.Struct, frozen=True):
    """A document that is not in the mix, or (`row` None) what of a file never became a document."""

    source: str
    id: str
    reasons: list[str]
    shard: str = ""
    row: int | None = None


def absences(sources: Sequence[Asked], home: str) -> Iterator[Absence]:
    """Source by source, in the order of the data; a file's lines are its name and `#LINE`."""
    for source in sources:
        for dataset in dict.fromkeys(shard.dataset for shard in source.shards):
            yield from (Absence(source.name, place, [reason]) for place, reason in unread(dataset))
        for shard in source.shards:
            yield from _dropped(source, shard, home)


def _dropped(source: Asked, shard: Shard, home: str) -> Iterator[Absence]:
    there, told = _written(source, shard, home), _rejected(source, shard, home)
    row = 0
    for ids, failed, clustered in _judged(source, shard):
        for place in np.flatnonzero(~np.isin(np.arange(row, row + len(ids)), there)).tolist():
            failing = [rule.name for rule, fails in zip(source.rules, failed, strict=True) if fails[place]]
            copied = [name for name, has in clustered.items() if has[place]][:1]
            reasons = told.get(row + place) or failing or copied or _otherwise(source)
            yield Absence(source.name, ids[place].as_py(), reasons, shard.name, row + place)
        row += len(ids)


def _otherwise(source: Asked) -> list[str]:
    """What drops a document that passes every rule and has no copies."""
    edited = ["empty_after_edit"] if source.edits else []
    return [" or ".join([*(["not_sampled"] if source.is_sampled else []), *edited]) or "dropped"]


def _written(source: Asked, shard: Shard, home: str) -> Array:
    """Rows of a shard that are in an output."""
    stem = storage.join(source.name, shard.stem)
    folders = [home, *(storage.join(home, "splits", split) for split in source.splits)]
    rows = [np.asarray(table["row"]) for folder in folders for _, table in provenance(folder, stem)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))


def _rejected(source: Asked, shard: Shard, home: str) -> dict[int, list[str]]:
    """The reasons of rows, where the mix wrote what it rejected."""
    root, stem = storage.join(home, "_rejected"), storage.join(source.name, shard.stem)
    found: dict[int, list[str]] = {}
    for reason in folders_in(root):
        for _, table in provenance(storage.join(root, reason), stem):
            found |= dict(zip(table["row"].to_pylist(), table["reasons"].to_pylist(), strict=True))
    return found


def _judged(source: Asked, shard: Shard) -> Iterator[tuple[pa.Array, list[Array], dict[str, Array]]]:
    """Of rows in order: ids, which of them fail each rule, and which have copies by each dedup."""
    paths = {path for rule in source.rules for path in references(rule)}
    fields: dict[str, set[str]] = {dedup.by: {"cluster"} for dedup in source.dedups}
    for head, *rest in paths:
        if head not in ("id", *PLAIN):
            fields.setdefault(head, set()).add(rest[0])
    readers = {name: AttributeReader(source.path(name, shard), name, sorted(read)) for name, read in fields.items()}
    for batch in _rows(source, shard, sorted({path[0] for path in paths} & set(PLAIN))):
        ids = batch.column("id").combine_chunks()
        values = {name: reader.read(ids) for name, reader in readers.items()}
        table = pa.table({**dict(zip(batch.column_names, batch.columns, strict=True)), **values})
        holds = Evaluator(source.rules, table.schema).evaluate(table, shard.name)
        clustered = {dedup.by: np.asarray(pc.is_valid(values[dedup.by].field("cluster"))) for dedup in source.dedups}
        yield ids, [~np.asarray(found, np.bool_) for found in holds], clustered


def _rows(source: Asked, shard: Shard, plain: Sequence[str]) -> Iterator[pa.Table]:
    """Ids and what else rules read of documents; documents are opened for that only."""
    if plain:
        for batch in DocumentReader(shard, ("id", *plain), limit=source.read_limit):
            yield pa.table({name: batch.columns.column(name) for name in ("id", *plain)})
        return
    left = source.read_limit
    for ids in ids_of(source, shard):
        found = ids[:left]
        left = None if left is None else left - len(found)
        if len(found):
            yield pa.table({"id": found})
