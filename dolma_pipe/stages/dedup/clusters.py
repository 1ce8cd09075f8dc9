"""One partition of the keys resolved: which are equal, whose copy is first, how many there are.

The result lists, page by page, every key of the page that occurs more than
once anywhere (`ENTRY`), in the order of the page's keys; `bounds` says where
each page's entries begin. What is alone is not written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.kernels.clusters import distinct_keys, key_order, occurrences, resolve
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.spill import KEY, Keyed, KeyRange, PageKeys, read_partition

RECORD_BYTES = 100
"""Memory that resolving takes per key, ids not counted: the key, its order, its cluster."""

ENTRY = np.dtype([("slot", "<u4"), ("page", "<u4"), ("row", "<u4"), ("size", "<i8"), ("rank", "<i8")])
"""A key of a page: `page` (numbered through the corpus) and `row` of the first copy, copies in all, copies before."""


def resolve_partition(paths: list[str], part: KeyRange, with_ids: bool, stream: Any) -> int:
    """Resolve one range of keys over all spills (in documented order) and write its entries; returns how many."""
    pages = list(read_partition(paths, part, with_ids))
    keys = np.concatenate([np.empty(0, KEY), *(page.keys for page in pages)])
    first, second = np.ascontiguousarray(keys["first"]), np.ascontiguousarray(keys["second"])
    order = key_order(first, second, stable=True)
    heads, sizes, ranks = resolve(first, second, np.ascontiguousarray(keys["count"]), order)
    chosen = np.flatnonzero(sizes > 1)
    page_of, slots = _places(pages)
    entries = np.empty(len(chosen), ENTRY)
    entries["slot"], entries["page"] = slots[chosen], page_of[heads[chosen]]
    entries["row"], entries["size"], entries["rank"] = keys["row"][heads[chosen]], sizes[chosen], ranks[chosen]
    out = ArrayWriter(stream)
    out.add("bounds", np.searchsorted(page_of[chosen], np.arange(len(pages) + 1)).astype(np.int64))
    out.add("entries", entries)
    if with_ids:
        ids = pa.chunked_array([page.first_ids for page in pages], pa.large_string())
        out.add_strings("ids", ids.take(pa.array(heads[chosen])).combine_chunks())
    out.close()
    return len(entries)


def warm_up(keyed: Keyed) -> None:
    """Compile the kernels of all phases, with arrays of the types that they will see."""
    slots, heads, counts = distinct_keys(keyed.first, keyed.second, key_order(keyed.first, keyed.second))
    first, second = keyed.first[heads], keyed.second[heads]
    resolve(first, second, counts, key_order(first, second, stable=True))
    occurrences(slots, len(heads))


def _places(pages: list[PageKeys]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Page and slot of every key that was read."""
    lengths = np.array([len(page.keys) for page in pages], np.int64)
    page_of = np.repeat(np.arange(len(pages)), lengths)
    begins = np.cumsum(lengths) - lengths
    firsts = np.array([page.slot for page in pages], np.int64)
    slots = np.arange(len(page_of)) + np.repeat(firsts - begins, lengths)
    return page_of, slots


class Entries(NamedTuple):
    """All that is known about one page's keys: for each its entry, or -1 where it is alone; ids of first copies."""

    of_slot: npt.NDArray[np.int64]
    entries: npt.NDArray[Any]
    ids: pa.ChunkedArray | None


def page_entries(partitions: list[ArrayReader], page: int, distinct: int, with_ids: bool) -> Entries:
    """The entries of one page (numbered through the corpus, with `distinct` keys) from all partitions."""
    found: list[npt.NDArray[Any]] = []
    ids: list[pa.Array] = []
    for partition in partitions:
        start, stop = partition.read("bounds", page, page + 2).tolist()
        found.append(partition.read("entries", start, stop))
        if with_ids:
            ids.append(partition.read_strings("ids", start, stop))
    entries = np.concatenate(found)
    of_slot = np.full(distinct, -1, np.int64)
    of_slot[entries["slot"]] = np.arange(len(entries))
    return Entries(of_slot, entries, pa.chunked_array(ids, pa.large_string()) if with_ids else None)
