"""One partition of the keys resolved: which are equal, whose copy is first, how many there are.

The result lists, page by page (`pages.write_rows`), every key of the page that
occurs more than once anywhere (`ENTRY`), in the order of the page's keys. What
is alone is not written, and neither is what only the pages of kept shards hold,
which new ones are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.kernels.clusters import copies_of, distinct_keys, resolve
from dolma_pipe.stages.dedup.pages import write_rows
from dolma_pipe.stages.dedup.spill import KEY, Keyed, KeyRange, read_partition

RECORD_BYTES = 110
"""Memory that resolving takes per key, ids not counted: the key, its order, its cluster."""

ENTRY = np.dtype(
    [
        ("slot", "<u4"), ("shard", "<u4"), ("row", "<u4"), ("size", "<i8"), ("rank", "<i8"),
        ("first", "<u8"), ("second", "<u8"),
    ]
)  # fmt: skip
"""A key of a page: shard (numbered through the corpus) and row of the first copy, copies in all, copies before."""


class _Keys(NamedTuple):
    """The keys of a partition in documented order, and per page: its shard, its first slot, how many keys."""

    keys: npt.NDArray[Any]
    ids: list[pa.Array]
    shards: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def _read(paths: Sequence[str], part: KeyRange, with_ids: bool) -> _Keys:
    keys, ids, places = [np.empty(0, KEY)], [pa.array([], pa.large_string())], [np.empty((0, 3), np.int64)]
    for shard, path in enumerate(paths):
        for page in read_partition(path, part, with_ids):
            keys.append(page.keys)
            ids += [page.first_ids] if page.first_ids is not None else []
            places.append(np.array([[shard, page.slot, len(page.keys)]]))
    return _Keys(np.concatenate(keys), ids, *np.concatenate(places).T)


def resolve_partition(paths: Sequence[str], kept: int, part: KeyRange, with_ids: bool, stream: Any) -> int:
    """Resolve one range of keys over all spills (in documented order) and write its entries; returns how many.

    The first `kept` spills are of shards that get no results.
    """
    found = _read(paths, part, with_ids)
    keys = found.keys
    first, second = np.ascontiguousarray(keys["first"]), np.ascontiguousarray(keys["second"])
    heads, sizes, ranks = resolve(first, second, np.ascontiguousarray(keys["count"]))
    page_of = np.repeat(np.arange(len(found.lengths)), found.lengths)
    new = int(np.searchsorted(found.shards, kept))
    chosen = np.flatnonzero((sizes > 1) & (page_of >= new))
    page, head = page_of[chosen], heads[chosen]
    entries = np.empty(len(chosen), ENTRY)
    entries["slot"] = chosen - (np.cumsum(found.lengths) - found.lengths - found.slots)[page]
    entries["shard"], entries["row"] = found.shards[page_of[head]], keys["row"][head]
    entries["size"], entries["rank"] = sizes[chosen], ranks[chosen]
    entries["first"], entries["second"] = first[chosen], second[chosen]
    ids = pa.concat_arrays(found.ids).take(pa.array(head)) if with_ids else None
    write_rows(stream, entries, page - new, len(found.lengths) - new, ids)
    return len(entries)


def warm_up(keyed: Keyed) -> None:
    """Compile the kernels of all phases, with arrays of the types that they will see."""
    slots, heads, counts = distinct_keys(keyed.first, keyed.second)
    first, second = keyed.first[heads], keyed.second[heads]
    resolve(first, second, counts)
    copies_of(slots, np.full(len(heads), -1), np.zeros(1, np.int64))


class Entries(NamedTuple):
    """All that is known about one page's keys: for each its entry, or -1 where it is alone; ids of first copies."""

    of_slot: npt.NDArray[np.int64]
    entries: npt.NDArray[Any]
    ids: pa.ChunkedArray


def page_entries(entries: npt.NDArray[Any], ids: pa.ChunkedArray, distinct: int) -> Entries:
    """The entries of a page of `distinct` keys, as all partitions have them."""
    of_slot = np.full(distinct, -1, np.int64)
    of_slot[entries["slot"]] = np.arange(len(entries))
    return Entries(of_slot, entries, ids)
