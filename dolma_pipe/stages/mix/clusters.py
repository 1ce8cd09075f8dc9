"""The best copy of each cluster of duplicates, among the documents that passed.

Each shard settles its clusters within itself and spills the best copy of each, by partitions of the
cluster's hash; a partition then compares the copies of all shards. So a cluster costs one entry per shard,
however many copies it has, and a partition fits into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.stages.mix.sections import read_section, write_sections
from dolma_pipe.stages.mix.sources import Source, preference

COPY = np.dtype(
    [("key0", "<u8"), ("key1", "<u8"), ("prefer", "<f8"), ("rank", "<i8"), ("shard", "<i8"), ("row", "<i8")]
)
PARTITION_BYTES = 64 << 20
Array = npt.NDArray[Any]


class Group(msgspec.Struct, frozen=True):
    """Sources that choose survivors together: source index -> which of its dedups."""

    by: str
    members: dict[int, int]


def groups(sources: Sequence[Source], file: str) -> list[Group]:
    """Who chooses together, in the order in which it is done: that in which every source lists its dedups."""
    found: dict[str, Group] = {}
    orders: list[list[str]] = []
    for index, source in enumerate(sources):
        keys = [dedup.by if dedup.scope == "mix" else f"{dedup.by} of {source.name}" for dedup in source.dedups]
        orders.append(keys)
        for number, key in enumerate(keys):
            group = found.setdefault(key, Group(source.dedups[number].by, {}))
            _check_agreement(sources, group, index, number, file)
            group.members[index] = number
    return [found[key] for key in _merged(orders, list(found), file)]


def _check_agreement(sources: Sequence[Source], group: Group, index: int, number: int, file: str) -> None:
    for other, its in group.members.items():
        one, two = preference(sources[other].dedups[its]), preference(sources[index].dedups[number])
        if (one and one.sql) != (two and two.sql):
            raise ConfigError(
                f"{file}: sources {sources[other].name!r} and {sources[index].name!r} dedup by {group.by!r} but prefer "
                "different copies; clusters may hold copies of both: prefer the same, or say scope: source"
            )


def _merged(orders: Sequence[Sequence[str]], keys: list[str], file: str) -> list[str]:
    """One order that agrees with all."""
    merged: list[str] = []
    while len(merged) < len(keys):
        rest = [[key for key in order if key not in merged] for order in orders]
        free = [key for key in keys if key not in merged and all(key not in order[1:] for order in rest)]
        if not free:
            raise ConfigError(f"{file}: the sources list their dedups in different orders; use one order for all")
        merged.append(free[0])
    return merged


def partition_count(clustered: int) -> int:
    """Partitions for this many copies, so that each stays near 64 MiB."""
    return max(1, -(-clustered * COPY.itemsize // PARTITION_BYTES))


def copies(columns: dict[str, pa.Array], number: int, alive: Array, shard: int) -> Array:
    """The living documents of a shard that are in a cluster, as `COPY` records."""
    clusters = columns[f"cluster{number}"]
    rows = np.flatnonzero(alive & ~np.asarray(clusters.is_null()))
    found = np.zeros(len(rows), COPY)
    taken = clusters.take(pa.array(rows)).cast(pa.large_string())
    offsets = np.frombuffer(taken.buffers()[1], np.int64)[: len(rows) + 1] if len(rows) else np.zeros(1, np.int64)
    data = np.frombuffer(taken.buffers()[2], np.uint8) if len(rows) else np.zeros(0, np.uint8)
    keys = hash128_ranges(data, offsets[:-1], offsets[1:])
    found["key0"], found["key1"] = keys[:, 0], keys[:, 1]
    if f"prefer{number}" in columns:
        # documents without a number are the worst copies, not the best
        found["prefer"] = np.nan_to_num(
            np.asarray(columns[f"prefer{number}"])[rows], nan=-np.inf, posinf=np.inf, neginf=-np.inf
        )
    found["rank"] = np.asarray(columns[f"rank{number}"])[rows]
    found["shard"], found["row"] = shard, rows
    return found


def best(found: Array) -> npt.NDArray[np.bool_]:
    """Which of the copies survive: one per key."""
    order = np.lexsort((found["row"], found["shard"], found["rank"], -found["prefer"], found["key1"], found["key0"]))
    keys = found[["key0", "key1"]][order]
    survivors = np.zeros(len(found), np.bool_)
    survivors[order] = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(found) else []
    return survivors


def spill(stream: Any, found: Array, partitions: int) -> None:
    """Write a shard's best copies by partition; the last section holds the rows that lost within the shard."""
    survivors = best(found)
    kept = found[survivors]
    parts = kept["key0"] % np.uint64(partitions)
    lost = np.sort(found["row"][~survivors])
    write_sections(stream, [*(kept[parts == part] for part in range(partitions)), lost])


def resolve(stream: Any, paths: Sequence[str], partition: int, shards: int) -> int:
    """Compare one partition's copies; writes the rows that lost, a section per shard. Returns how many there are."""
    found = np.concatenate([read_section(path, partition, COPY) for path in paths])
    lost = found[~best(found)]
    lost = lost[np.lexsort((lost["row"], lost["shard"]))]
    bounds = np.searchsorted(lost["shard"], np.arange(shards + 1))
    write_sections(stream, [np.ascontiguousarray(lost["row"][bounds[s] : bounds[s + 1]]) for s in range(shards)])
    return len(lost)


def losers(spill_path: str, resolved: Sequence[str], shard: int) -> Array:
    """Rows of a shard whose cluster has a better copy."""
    within = read_section(spill_path, len(resolved), np.int64)
    return np.concatenate([within, *(read_section(path, shard, np.int64) for path in resolved)])
