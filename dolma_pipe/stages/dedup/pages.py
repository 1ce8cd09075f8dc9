"""Pages of consecutive documents: gathered from batches, and what partitions find out about those of all shards.

That is `rows`, and `bounds` that say where those of a page are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter

PAGES_AT_ONCE = 4
"""Pages whose rows are read together: each partition is opened once for them."""

Array = npt.NDArray[Any]
Part = TypeVar("Part")


class Gathered(Generic[Part]):
    """Batches that wait until they are a page: `full` records or documents. `row` is the page's first one's."""

    def __init__(self, full: int) -> None:
        self._full = full
        self._parts: list[Part] = []
        self._records = self._documents = 0
        self.row = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, part: Part, records: int, documents: int) -> bool:
        """Whether the page is full now."""
        self._parts.append(part)
        self._records += records
        self._documents += documents
        return max(self._records, self._documents) >= self._full

    def take(self) -> list[Part]:
        """The page; the next one begins behind it."""
        taken, self._parts = self._parts, []
        self.row += self._documents
        self._records = self._documents = 0
        return taken


def write_rows(stream: Any, rows: Array, pages: Array, count: int, ids: pa.Array | None = None) -> None:
    """Write what one partition found out: `pages` ascend and say to which of `count` pages a row belongs.

    `ids` may say something about each row in words.
    """
    out = ArrayWriter(stream)
    out.add("bounds", np.searchsorted(pages, np.arange(count + 1)).astype(np.int64))
    out.add("rows", rows)
    if ids is not None:
        out.add_strings("ids", ids)
    out.close()


class PageRows:
    """The rows of one shard's pages from all partitions; its first page is page `first` of all."""

    def __init__(self, paths: Sequence[str], first: int, pages: int) -> None:
        self._paths, self._first, self._pages = paths, first, pages
        self._read: list[tuple[Array, pa.ChunkedArray]] = []
        self._next = 0

    def of(self, page: int) -> Array:
        """The rows of a page, in order of the partitions; pages are asked for in their order."""
        return self.with_ids(page)[0]

    def with_ids(self, page: int) -> tuple[Array, pa.ChunkedArray]:
        """The rows of a page, and their ids (none where partitions have none)."""
        if page == self._next:
            count = min(PAGES_AT_ONCE, self._pages - page)
            self._read = _read_rows(self._paths, self._first + page, count)
            self._next += count
        return self._read[page - self._next + len(self._read)]


def _read_rows(paths: Sequence[str], first: int, pages: int) -> list[tuple[Array, pa.ChunkedArray]]:
    rows: list[list[Array]] = [[] for _ in range(pages)]
    ids: list[list[pa.Array]] = [[] for _ in range(pages)]
    for path in paths:
        with ArrayReader(path) as partition:
            bounds = partition.read("bounds", first, first + pages + 1).tolist()
            found = partition.read("rows", bounds[0], bounds[-1])
            named = partition.read_strings("ids", bounds[0], bounds[-1]) if partition.has("ids/offsets") else None
        for page, (start, stop) in enumerate(pairwise(bounds)):
            rows[page].append(found[start - bounds[0] : stop - bounds[0]])
            if named is not None:
                ids[page].append(named.slice(start - bounds[0], stop - start))
    return [
        (np.concatenate(parts), pa.chunked_array(names, pa.large_string()))
        for parts, names in zip(rows, ids, strict=True)
    ]
