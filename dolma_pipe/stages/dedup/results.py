"""From a page's spill and what became of its keys to rows of attributes: what all kinds of keys share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.kernels.clusters import copies_of
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.clusters import Entries
from dolma_pipe.types import Counts

WHERE = {"dataset": pa.string(), "shard": pa.string(), "row": pa.int64()}
"""Where a document lies, as results say it."""

Array = npt.NDArray[Any]


class Places:
    """Documents by the names of their data set and shard; `name(i)` gives those of shard i."""

    def __init__(self, name: Callable[[int], tuple[str, str]]) -> None:
        self._name = name

    def struct(self, shards: Array, rows: Array, ids: pa.Array | None = None) -> pa.StructArray:
        """`struct<dataset, shard, row[, id]>` of documents."""
        present = np.bincount(shards) > 0
        named = [self._name(shard) for shard in np.flatnonzero(present).tolist()]
        indices = pa.array((np.cumsum(present) - 1)[shards])
        datasets = pa.array([dataset for dataset, _ in named], pa.string()).take(indices)
        names = pa.array([name for _, name in named], pa.string()).take(indices)
        arrays = [datasets, names, pa.array(rows.astype(np.int64))]
        if ids is not None:
            return pa.StructArray.from_arrays([*arrays, ids], names=[*WHERE, "id"])
        return pa.StructArray.from_arrays(arrays, names=list(WHERE))


class Rows(NamedTuple):
    """Attribute rows: ids of the documents, a column per field, what to count."""

    ids: pa.Array
    columns: dict[str, Any]
    counts: Counts


class Page(NamedTuple):
    """One page of a spill, with all that is known about its keys."""

    spill: ArrayReader
    number: int
    found: Entries

    def read(self, name: str) -> Array:
        return self.spill.read(f"{self.number}/{name}")

    def ids(self) -> pa.Array:
        return self.spill.read_strings(f"{self.number}/ids")


class Copies(NamedTuple):
    """The records of a page that have copies: their number in the page, entry, copies before each, copies in all."""

    records: Array
    entries: Array
    ranks: Array
    sizes: Array

    def only(self, chosen: Array) -> Copies:
        return Copies(*(column[chosen] for column in self))


def copies(page: Page) -> Copies:
    """What became of the records of a page; those that are alone are left out."""
    found = page.found
    ranks = np.ascontiguousarray(found.entries["rank"])
    records, entries, ranks = copies_of(page.read("slots"), found.of_slot, ranks)
    return Copies(records, entries, ranks, found.entries["size"][entries])


def entry_keys(entries: Array) -> Array:
    """uint64[n, 2]: the keys of entries."""
    return np.stack([entries["first"], entries["second"]], axis=1)


def binary(keys: Array) -> pa.FixedSizeBinaryArray:
    """128-bit keys (uint64[n, 2]) as 16 bytes each, the most significant first."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, pa.py_buffer(keys.astype(">u8"))])


def hexadecimal(keys: Array) -> pa.StringArray:
    """128-bit keys (uint64[n, 2]) as 32 hexadecimal digits each."""
    halves = keys.astype(">u8").view(np.uint8)
    nibbles = np.stack([halves >> 4, halves & 15], axis=-1).reshape(-1)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    offsets = np.arange(0, 32 * len(keys) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(digits))


def scatter(values: pa.Array, rows: Array, length: int) -> pa.Array:
    """`values[i]` at `rows[i]`, null elsewhere."""
    indices = np.zeros(length, np.int64)
    absent = np.ones(length, np.bool_)
    indices[rows], absent[rows] = np.arange(len(rows)), False
    return values.take(pa.array(indices, mask=absent))
