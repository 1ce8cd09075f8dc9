"""Which copy of a repeated paragraph stays: the best one, among the documents that stay.

A set of paragraphs lists every copy, the first one included. Those of living documents are compared as whole
documents are (see clusters.py), numbered through their shard; the ones that lose are edited out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.attributes import AttributeReader
from dolma_pipe.stages.mix.copies.clusters import COPY, partition_count, records
from dolma_pipe.stages.mix.source import COPIES

PARTS = 512
"""Sections of a shard's spill: how many copies there are in all is known only once all are spilled."""

Array = npt.NDArray[Any]


class Settlement(NamedTuple):
    """One of `of` tasks that compare the copies of all shards, each `PARTS / of` sections of every spill."""

    number: int
    of: int

    @property
    def sections(self) -> range:
        return range(self.number * PARTS // self.of, (self.number + 1) * PARTS // self.of)


def settlements(copies: int) -> int:
    """How many tasks compare so many copies."""
    return min(partition_count(copies), PARTS)


def copies(path: str, set_name: str, alive: Array, prefer: Array | None, place: tuple[int, int]) -> Array:
    """The copies of paragraphs in the living documents of a shard; `row` is a copy's number in the shard.

    `alive` and `prefer` have a value per document that was read; `place` is the standing of the source, and the shard.
    """
    reader = AttributeReader(path, set_name, [f"{COPIES}.list.element.{name}" for name in ("cluster", "rank")])
    parts = [np.empty(0, COPY)]
    row = number = 0
    while row < len(alive) and (ids := reader.upcoming()) is not None:
        lists = reader.read(ids[: len(alive) - row]).field(COPIES)
        values: Any = lists.flatten()
        document = row + np.repeat(np.arange(len(lists)), np.asarray(lists.value_lengths()))
        chosen = np.flatnonzero(alive[document])
        wanted = prefer[document[chosen]] if prefer is not None else None
        clusters = values.field("cluster").take(pa.array(chosen))
        keys = np.frombuffer(clusters.buffers()[1], "<u8").reshape(-1, 2)
        parts.append(records(keys, wanted, np.asarray(values.field("rank"))[chosen], place, number + chosen))
        row, number = row + len(lists), number + len(document)
    return np.concatenate(parts)


class Removals:
    """The copies of a shard that do not stay, handed out batch by batch."""

    def __init__(self, lost: Array) -> None:
        self._lost = np.sort(lost)
        self._number = 0

    def only(self, attributes: pa.StructArray) -> pa.StructArray:
        """The rows of a batch with only those of their copies that do not stay."""
        lists: Any = attributes.field(COPIES)
        values: Any = lists.flatten()
        first, last = np.searchsorted(self._lost, [self._number, self._number + len(values)])
        lost = self._lost[first:last] - self._number
        self._number += len(values)
        is_lost = np.zeros(len(values) + 1, np.int64)
        is_lost[lost + 1] = 1
        ends = np.cumsum(np.asarray(lists.value_lengths()), dtype=np.int64)
        offsets = np.cumsum(is_lost)[np.concatenate([[0], ends])]
        kept = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values.take(pa.array(lost)))
        return pa.StructArray.from_arrays([kept], names=[COPIES])
