"""The anchors of repeated passages: spilled shard by shard, and compared by their cores over all shards.

`kernels/winnowing` says what anchors, cores and scenes are. A page covers consecutive documents:

    N/keys       KEY[m]      each core and scene once, in that order    N/slots            uint32[r]  per anchor
    N/directory  int64[b+1]  where each of b equal ranges begins        N/start,lead,more             per anchor
                                                                        N/counts           uint32[n]  per document
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.clusters import distinct_keys, key_order
from dolma_pipe.kernels.scenes import compare_scenes
from dolma_pipe.kernels.winnowing import Anchors
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.pages import Array, Gathered, write_rows
from dolma_pipe.stages.dedup.spill import KeyRange, directory, read_partition

PAGE_ANCHORS = 1 << 18
RECORD_BYTES = 110
"""Memory that comparing takes per key."""

KEY = np.dtype([("first", "<u8"), ("second", "<u8"), ("row", "<u4"), ("start", "<u4"), ("count", "<u4")])
"""A core (`first`) and a scene; row and start of the first anchor of the page that has them, and how many do."""

ENTRY = np.dtype([("slot", "<u4"), ("shard", "<u4"), ("row", "<u4"), ("start", "<u4"), ("contested", "?")])
"""A key of a page whose core occurs elsewhere: where its core and scene occur first; has the core several scenes?"""

MOST_BYTES = 1 << 16


class SubstringRules(Config, frozen=True):
    """What a repeated passage is: `min_bytes` or more of UTF-8.

    What lies between two of them goes with them if it has at most `max_island` bytes (a fifth of `min_bytes` unless
    given): a date or a number in a text that is otherwise the same. 0: nothing that occurs once is ever marked.
    """

    min_bytes: int = 500
    max_island: int | None = None

    @property
    def island(self) -> int:
        return self.min_bytes // 5 if self.max_island is None else self.max_island

    def check(self) -> None:
        """Refuse what cannot work."""
        if not 2 <= self.min_bytes <= MOST_BYTES:
            raise ConfigError(f"substring.min_bytes: {self.min_bytes} is not a length from 2 to {MOST_BYTES} bytes")
        if not 0 <= self.island < self.min_bytes:
            raise ConfigError(
                f"substring.max_island: {self.island} is not from 0 to {self.min_bytes - 1}: it is below min_bytes"
            )


class AnchorWriter:
    """Gathers batches of anchors into pages; `pages` and `keys` add up."""

    def __init__(self, stream: Any) -> None:
        self._out = ArrayWriter(stream)
        self._page: Gathered[Anchors] = Gathered(PAGE_ANCHORS)
        self.pages = self.keys = 0

    def write(self, anchors: Anchors) -> None:
        if self._page.add(anchors, len(anchors.core), len(anchors.counts)):
            self._flush()

    def close(self) -> None:
        if self._page:
            self._flush()
        self._out.close()

    def _flush(self) -> None:
        row, parts = self._page.row, self._page.take()
        found = Anchors(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        rows = np.repeat(np.arange(row, row + len(found.counts)), found.counts)
        slots, heads, sizes = distinct_keys(found.core, found.scene)
        keys = np.empty(len(heads), KEY)
        keys["first"], keys["second"], keys["count"] = found.core[heads], found.scene[heads], sizes
        keys["row"], keys["start"] = rows[heads], found.start[heads]
        arrays = {"keys": keys, "directory": directory(keys["first"]), "slots": slots, "counts": found.counts}
        for name, array in (*arrays.items(), ("start", found.start), ("lead", found.lead), ("more", found.more)):
            self._out.add(f"{self.pages}/{name}", array)
        self.pages += 1
        self.keys += len(keys)


class Page(NamedTuple):
    """The anchors of a page, in order: `slots` are their keys; `rows` those of their documents, `first_row` the
    page's first; `counts` anchors per document."""

    keys: Array
    slots: Array
    rows: Array
    start: Array
    lead: Array
    more: Array
    counts: Array
    first_row: int


def read_page(spill: ArrayReader, number: int, first_row: int) -> Page:
    names = ("keys", "slots", "start", "lead", "more", "counts")
    keys, slots, start, lead, more, counts = (spill.read(f"{number}/{name}") for name in names)
    rows = np.repeat(np.arange(first_row, first_row + len(counts)), counts)
    return Page(keys, slots, rows, start, lead, more, counts, first_row)


def compare_partition(paths: Sequence[str], kept: int, part: KeyRange, stream: Any) -> int:
    """Compare one range of cores over all spills (in documented order) and write its entries, page by page.

    Returns how many keys of shards from `kept` on are certain repeats: they have the only scene of their core, and are
    not its first.
    """
    parts: list[Array] = [np.empty(0, KEY)]
    places: list[tuple[int, int, int]] = []
    for shard, path in enumerate(paths):
        for page in read_partition(path, part, False):
            parts.append(page.keys)
            places.append((shard, page.slot, len(page.keys)))
    keys = np.concatenate(parts)
    shards, slots, lengths = np.array(places, np.int64).reshape(-1, 3).T
    core, scene = np.ascontiguousarray(keys["first"]), np.ascontiguousarray(keys["second"])
    order = key_order(core, scene)
    heads, contested = compare_scenes(core, scene, np.ascontiguousarray(keys["count"]), order)
    page_of = np.repeat(np.arange(len(places)), lengths)
    chosen = np.flatnonzero(heads >= 0)
    page, head = page_of[chosen], heads[chosen]
    entries = np.empty(len(chosen), ENTRY)
    entries["slot"] = chosen - (np.cumsum(lengths) - lengths - slots)[page]
    entries["shard"], entries["contested"] = shards[page_of[head]], contested[chosen]
    entries["row"], entries["start"] = keys["row"][head], keys["start"][head]
    write_rows(stream, entries, page, len(places))
    repeated = ~contested[chosen] & ((head != chosen) | (keys["count"][chosen] > 1))
    return int((repeated & (shards[page] >= kept)).sum())
