"""The copies of each star of near duplicates that stay, among the documents that passed.

Members of a star are similar to its centre, not each to each other. So one copy a star would remove documents that
were never compared with what stays, and would lose the star where its centre fails a rule. Instead, in order of
preference, a copy stays unless it has the words of one that stays or was compared with it and found similar.

All copies of a star come to one partition, whose section of a shard's spill is

    int64 n | COPY[n] | int64[n]: texts that each was compared with | int32: those texts

and none is lost within its shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.stars import survivors
from dolma_pipe.stages.mix.copies import clusters
from dolma_pipe.stages.mix.sections import read_section, write_sections

COPY = np.dtype([*clusters.COPY.descr, ("text", "<i8")])
Array = npt.NDArray[Any]


class Copies(NamedTuple):
    """Living copies, and the texts that each was compared with: `near[bounds[i]:bounds[i + 1]]`."""

    copies: Array
    near: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]

    def take(self, which: Array) -> Copies:
        starts, ends = self.bounds[:-1][which], self.bounds[1:][which]
        near, bounds = gather_ranges(self.near.view(np.uint8), 4 * starts, 4 * ends)
        return Copies(self.copies[which], near.view(np.int32), bounds // 4)

    def packed(self) -> npt.NDArray[np.uint8]:
        parts = (np.array([len(self.copies)], np.int64), self.copies, np.diff(self.bounds), self.near)
        return np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in parts])


def copies(columns: dict[str, pa.Array], number: int, alive: Array, shard: int, standing: int) -> Copies:
    """The living documents of a shard that are in a star."""
    plain = clusters.copies(columns, number, alive, shard, standing)
    found = np.empty(len(plain), COPY)
    for name in clusters.COPY.names or ():
        found[name] = plain[name]
    rows = pa.array(plain["row"])
    found["text"] = np.asarray(columns[f"text{number}"].take(rows))
    lists: Any = columns[f"near{number}"].take(rows).cast(pa.list_(pa.int32()))
    bounds = np.concatenate([[0], np.cumsum(np.asarray(lists.value_lengths()), dtype=np.int64)])
    return Copies(found, np.ascontiguousarray(lists.flatten(), np.int32), bounds)


def spill(stream: Any, found: Copies, partitions: int) -> int:
    """Write a shard's copies by partition; returns how many are lost within the shard."""
    parts = found.copies["key0"] % np.uint64(partitions)
    packed = [found.take(np.flatnonzero(parts == part)).packed() for part in range(partitions)]
    write_sections(stream, [*packed, np.empty(0, np.int64)])
    return 0


def resolve(stream: Any, paths: Sequence[str], partition: int, shards: int) -> npt.NDArray[np.int64]:
    """Settle one partition's stars; writes the rows that lost, a section per shard. Returns their numbers."""
    parts = [_unpacked(read_section(path, partition, np.uint8)) for path in paths]
    found = np.concatenate([np.empty(0, COPY), *(part[0] for part in parts)])
    counts = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    near = np.concatenate([np.empty(0, np.int32), *(part[2] for part in parts)])
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return clusters.write_losers(stream, _lost(Copies(found, near, bounds)), shards)


def _unpacked(section: npt.NDArray[np.uint8]) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    size = int(section[:8].view(np.int64)[0])
    found, counts, near = np.split(section[8:], np.cumsum([size * COPY.itemsize, 8 * size]))
    return found.view(COPY), counts.view(np.int64), near.view(np.int32)


def _lost(found: Copies) -> Array:
    """The copies that do not stay."""
    ordered = found.take(clusters.by_preference(found.copies))
    keys = ordered.copies[["key0", "key1"]]
    begins = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    stars = np.concatenate([[0], begins, [len(keys)]]).astype(np.int64)
    texts = np.ascontiguousarray(ordered.copies["text"])
    largest = int(max(ordered.near.max(initial=0), texts.max(initial=0)))
    return ordered.copies[~survivors(stars, texts, ordered.near, ordered.bounds, largest)]
