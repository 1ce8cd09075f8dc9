"""The best copy of each cluster of duplicates, among the documents that passed.

Each shard settles its clusters within itself and spills the best copy of each, by partitions of the
cluster's hash; a partition then compares the copies of all shards. So a cluster costs one entry per shard,
however many copies it has, and a partition fits into memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.manifest import Record
from dolma_pipe.mixer import Dedup
from dolma_pipe.stages.mix.sections import read_section, write_sections
from dolma_pipe.stages.mix.source import Source, preference

COPY = np.dtype(
    [
        ("key0", "<u8"), ("key1", "<u8"), ("source", "<i4"), ("prefer", "<f8"), ("rank", "<i8"), ("shard", "<i8"),
        ("row", "<i8"),
    ]
)  # fmt: skip
"""One copy of a cluster; `source` is the place of its source among those that are preferred, lower is better."""

PARTITION_BYTES = 64 << 20
Array = npt.NDArray[Any]


class Group(msgspec.Struct, frozen=True):
    """Sources that choose survivors together: source index -> which of its dedups."""

    by: str
    members: dict[int, int]
    stars: bool = False


def groups(sources: Sequence[Source], dedups: Sequence[Sequence[Dedup]], file: str) -> list[Group]:
    """Who chooses together, in the order in which it is done: that in which every source lists its dedups."""
    found: dict[str, Group] = {}
    orders: list[list[str]] = []
    for index, (source, its) in enumerate(zip(sources, dedups, strict=True)):
        keys = [dedup.by if dedup.scope == "mix" else f"{dedup.by} of {source.name}" for dedup in its]
        orders.append(keys)
        for number, key in enumerate(keys):
            by = its[number].by
            group = found.setdefault(key, Group(by, {}, by in source.stars))
            if group.stars != (by in source.stars):
                raise ConfigError(
                    f"{file}: {by!r} holds near duplicates in some sources and equal documents in others; run dedup "
                    "over all of them, or say scope: source"
                )
            for other, theirs in group.members.items():
                _check_agreement((source.name, its[number]), (sources[other].name, dedups[other][theirs]), file)
            _check_named(its[number], [source.name for source in sources], file)
            group.members[index] = number
    return [found[key] for key in _merged(orders, list(found), file)]


def _check_agreement(one: tuple[str, Dedup], other: tuple[str, Dedup], file: str) -> None:
    wanted = [(found.sql if (found := preference(dedup)) else None, dedup.sources) for _, dedup in (one, other)]
    if wanted[0] != wanted[1]:
        raise ConfigError(
            f"{file}: sources {other[0]!r} and {one[0]!r} dedup by {one[1].by!r} but prefer different copies; "
            "clusters may hold copies of both: prefer the same, or say scope: source"
        )


def _check_named(dedup: Dedup, names: list[str], file: str) -> None:
    for name in dedup.sources:
        if name not in names:
            guess = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {guess[0]!r}?" if guess else f" (there are: {', '.join(names)})"
            raise ConfigError(f"{file}: dedup by {dedup.by!r}: prefer: no source {name!r}{hint}")


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


def standing(dedup: Dedup, source: str) -> int:
    """Place of a source among those that a dedup prefers; all that it does not name come last."""
    return dedup.sources.index(source) if source in dedup.sources else len(dedup.sources)


def copies(columns: dict[str, pa.Array], number: int, alive: Array, shard: int, source: int) -> Array:
    """The living documents of a shard that are in a cluster, as `COPY` records; `source` is its source's standing."""
    clusters = columns[f"cluster{number}"]
    rows = np.flatnonzero(alive & ~np.asarray(clusters.is_null()))
    prefer = np.asarray(columns[f"prefer{number}"])[rows] if f"prefer{number}" in columns else None
    ranks = np.asarray(columns[f"rank{number}"])[rows]
    return records(_keys(clusters.take(pa.array(rows))), prefer, ranks, (source, shard), rows)


def _keys(names: pa.Array) -> npt.NDArray[np.uint64]:
    """uint64[n, 2] that stand for the names of clusters."""
    taken = names.cast(pa.large_string())
    offsets = np.frombuffer(taken.buffers()[1], np.int64)[: len(names) + 1] if len(names) else np.zeros(1, np.int64)
    data = np.frombuffer(taken.buffers()[2], np.uint8) if len(names) else np.zeros(0, np.uint8)
    return hash128_ranges(data, offsets[:-1], offsets[1:])


def records(keys: Array, prefer: Array | None, ranks: Array, place: tuple[int, int], rows: Array) -> Array:
    """`COPY` records; `place` is the standing of the source, and the shard."""
    found = np.zeros(len(rows), COPY)
    found["key0"], found["key1"] = keys[:, 0], keys[:, 1]
    if prefer is not None:
        # documents without a number are the worst copies, not the best
        found["prefer"] = np.nan_to_num(prefer, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    found["rank"], found["row"] = ranks, rows
    found["source"], found["shard"] = place
    return found


def by_preference(found: Array) -> npt.NDArray[np.int64]:
    """The order of copies by cluster, and within one the best first."""
    wanted = (found["row"], found["shard"], found["rank"], -found["prefer"], found["source"])
    return np.lexsort((*wanted, found["key1"], found["key0"]))


def best(found: Array) -> npt.NDArray[np.bool_]:
    """Which of the copies survive: one per key."""
    order = by_preference(found)
    keys = found[["key0", "key1"]][order]
    survivors = np.zeros(len(found), np.bool_)
    survivors[order] = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(found) else []
    return survivors


def spill(stream: Any, found: Array, partitions: int) -> int:
    """Write a shard's best copies by partition; the last section holds the rows that lost within the shard.

    Returns how many those are.
    """
    survivors = best(found)
    kept = found[survivors]
    parts = kept["key0"] % np.uint64(partitions)
    lost = np.sort(found["row"][~survivors])
    write_sections(stream, [*(kept[parts == part] for part in range(partitions)), lost])
    return len(lost)


def resolve(stream: Any, paths: Sequence[str], partitions: Iterable[int], shards: int) -> npt.NDArray[np.int64]:
    """Compare the copies of some partitions, and write those that lost; see `write_losers`."""
    parts = [read_section(path, partition, COPY) for partition in partitions for path in paths]
    found = np.concatenate([np.empty(0, COPY), *parts])
    return write_losers(stream, found[~best(found)], shards)


def write_losers(stream: Any, lost: Array, shards: int) -> npt.NDArray[np.int64]:
    """Write the rows of copies that lost, a section per shard; returns how many each shard has."""
    lost = lost[np.lexsort((lost["row"], lost["shard"]))]
    bounds = np.searchsorted(lost["shard"], np.arange(shards + 1))
    write_sections(stream, [np.ascontiguousarray(lost["row"][bounds[s] : bounds[s + 1]]) for s in range(shards)])
    return np.diff(bounds)


def losers(spill_path: str, partitions: int, resolved: Sequence[str], shard: int) -> Array:
    """Rows of a shard whose cluster has a better copy; its spill has so many partitions."""
    within = read_section(spill_path, partitions, np.int64)
    return np.concatenate([within, *(read_section(path, shard, np.int64) for path in resolved)])


def refuse_removals(
    sources: Sequence[Source], group: Group, spilled: Sequence[Record], resolved: Sequence[Record], file: str
) -> None:
    """Stop where a dedup would remove more of a source than it may; spills and partitions say what they remove."""
    for index, number in group.members.items():
        source, dedup = sources[index], sources[index].dedups[number]
        if dedup.max_removed_fraction is None:
            continue
        mine = [facts for record in spilled if (facts := record.facts["removal"])["source"] == source.name]
        documents = sum(facts["documents"] for facts in mine)
        removed = sum(facts["lost"] for facts in mine) + sum(r.facts["lost"].get(source.name, 0) for r in resolved)
        if removed > dedup.max_removed_fraction * documents:
            raise DataError(
                f"{file}: dedup by {dedup.by!r} would remove {removed} of the {documents} documents of source "
                f"{source.name!r} that passed ({removed / documents:.3f}), more than max_removed_fraction = "
                f"{dedup.max_removed_fraction}; see whether the key tells these documents apart, or raise the limit"
            )
