"""Contested scenes: those that are new to their core, though the core is not. Their windows are looked up one by one.

A page covers the same documents as that of the anchors. A scene that an earlier document has as well needs no text:
all its windows occurred before, only where they did so first must be asked.

    N/tests      TEST[t]     by core, and equal cores in documented order    N/offsets  int64[t+1]  of the text
    N/directory  int64[b+1]  where each of b equal ranges of cores begins    N/text     uint8       around the cores
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.scenes import Memory, Scenes, empty_memory, settle, with_room
from dolma_pipe.kernels.winnowing import reach_of
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.pages import Array, write_rows
from dolma_pipe.stages.dedup.spill import KeyRange, directory, read_keys
from dolma_pipe.stages.dedup.substring.anchors import Page
from dolma_pipe.types import Counts

WINDOW_BYTES = 60
"""Memory that a remembered window takes."""

WINDOWS_PER_CORE = 1 << 20
"""How many different windows of one core are remembered; those that come later can be missed, and are counted."""

TEST = np.dtype(
    [
        ("first", "<u8"), ("second", "<u8"), ("row", "<u4"), ("start", "<u4"), ("index", "<u4"),
        ("lead", "<u2"), ("more", "<u2"), ("known", "?"),
    ]
)  # fmt: skip
"""A contested scene: its core (`first`) and scene, where it lies, and the page's anchor that has it; where an earlier
document has it (`known`), `index` is the page's key instead, for all its anchors."""

RESULT = np.dtype([("low", "<u2"), ("high", "<u2"), ("shard", "<u4"), ("row", "<u4")])
"""First and last window of a test that occurred before (low > high: none did), and where the first one did so first."""


class Entries(NamedTuple):
    """What is known about a page's cores: `rows` (anchors.ENTRY), and which of them a key of the page has, or -1."""

    rows: Array
    of_slot: Array

    @classmethod
    def of(cls, rows: Array, keys: int) -> Entries:
        of_slot = np.full(keys, -1, np.int64)
        of_slot[rows["slot"]] = np.arange(len(rows))
        return cls(rows, of_slot)

    def known(self, page: Page) -> tuple[Array, Array]:
        """The anchors that have an entry, and the entry of each."""
        entry = self.of_slot[page.slots]
        anchors = np.flatnonzero(entry >= 0)
        return anchors, self.rows[entry[anchors]]


def is_near(page: Page, entries: Array, shard: int, anchors: Array, length: int) -> Array:
    """Which anchors have the first occurrence of their scene in themselves, or overlap with it."""
    same = (entries["shard"] == shard) & (entries["row"] == page.rows[anchors])
    return same & (page.start[anchors] - entries["start"].astype(np.int64) < length)


class Contested(NamedTuple):
    """The tests of one page, and which of its anchors have their own: their text is wanted, in this order."""

    tests: Array
    anchors: Array


def contested(page: Page, entries: Entries, shard: int, length: int) -> Contested:
    """What has to be asked about a page."""
    anchors, entry = entries.known(page)
    known, entry = anchors[entry["contested"]], entry[entry["contested"]]
    near = is_near(page, entry, shard, known, length)
    own, slots = known[near], np.unique(page.slots[known[~near]])
    tests = np.zeros(len(own) + len(slots), TEST)
    tests["index"] = np.concatenate([own, slots])
    keys = page.keys[np.concatenate([page.slots[own], slots])]
    tests["first"], tests["second"] = keys["first"], keys["second"]
    tests["known"][len(own) :] = True
    for name, array in (("row", page.rows), ("start", page.start), ("lead", page.lead), ("more", page.more)):
        tests[name][: len(own)] = array[own]
    tests = tests[np.argsort(tests["first"], kind="stable")]
    return Contested(tests, own)


class SceneWriter:
    """Tests and their texts, page by page; `pages`, `tests` and `windows` (to be looked up) add up."""

    def __init__(self, stream: Any) -> None:
        self._out = ArrayWriter(stream)
        self.pages = self.tests = self.windows = 0

    def write(self, found: Contested, texts: Sequence[tuple[Array, Array]]) -> None:
        """`texts` are bytes and their offsets, for the anchors of `found` in order."""
        tests = found.tests
        data = np.concatenate([np.empty(0, np.uint8), *(data for data, _ in texts)])
        sizes = np.concatenate([np.empty(0, np.int64), *(np.diff(offsets) for _, offsets in texts)])
        ends = np.cumsum(sizes)
        of_test = np.full(len(tests), -1, np.int64)
        of_test[~tests["known"]] = np.searchsorted(found.anchors, tests["index"][~tests["known"]])
        none = of_test < 0
        stops = np.where(none, 0, ends[of_test] if len(ends) else 0)
        text, offsets = gather_ranges(data, stops - np.where(none, 0, sizes[of_test] if len(ends) else 0), stops)
        arrays = {"keys": tests, "directory": directory(tests["first"]), "offsets": offsets, "text": text}
        for name, array in arrays.items():
            self._out.add(f"{self.pages}/{name}", array)
        self.pages += 1
        self.tests += len(tests)
        self.windows += int(tests["more"].sum(dtype=np.int64)) + len(found.anchors)

    def close(self) -> None:
        self._out.close()


def surroundings(batch: Batch, page: Page, anchors: Array, length: int) -> tuple[Array, Array]:
    """The text around the cores of those anchors that lie in a batch, and its offsets: int64[n + 1]."""
    last = batch.first_row + len(batch)
    anchors = anchors[slice(*np.searchsorted(page.rows[anchors], [batch.first_row, last]).tolist())]
    starts = batch.offsets[page.rows[anchors] - batch.first_row] + page.start[anchors]
    middles = starts + page.lead[anchors]
    core = length - reach_of(length) + 1
    begins = np.stack([starts, middles + core], axis=1).reshape(-1)
    stops = np.stack([middles, starts + page.more[anchors] + length], axis=1).reshape(-1)
    text, offsets = gather_ranges(batch.data, begins, stops)
    return text, offsets[::2]


def _read(path: str, part: KeyRange) -> Iterator[tuple[Array, Scenes]]:
    """The tests of a range of cores, page by page."""
    with ArrayReader(path) as file:
        page = 0
        while file.has(f"{page}/keys"):
            found = read_keys(file, page, part, False)
            tests = found.keys
            offsets = file.read(f"{page}/offsets", found.slot, found.slot + len(tests) + 1)
            text = file.read(f"{page}/text", int(offsets[0]), int(offsets[-1]))
            names = ("first", "second", "row", "start", "lead", "more", "known")
            core, scene, row, start, lead, more, known = (np.ascontiguousarray(tests[name]) for name in names)
            yield tests, Scenes(core, scene, row, start, lead, more, known, offsets - offsets[0], text)
            page += 1


def settle_partition(paths: Sequence[str], kept: int, part: KeyRange, length: int, reach: int, stream: Any) -> Counts:
    """Ask all tests of one range of cores, in documented order, and write a result for each, page by page.

    `repeats` counts those of shards from `kept` on that occurred before.
    """
    memory = empty_memory(1 << 10)
    results: list[Array] = [np.empty(0, RESULT)]
    pages: list[int] = []
    repeated = 0
    for shard, path in enumerate(paths):
        for tests, scenes in _read(path, part):
            more = int(tests["more"].sum(dtype=np.int64)) + 3 * len(tests)
            memory = with_room(memory, more)
            results.append(_settle(scenes, shard, length, reach, memory))
            repeated += int((results[-1]["low"] <= results[-1]["high"]).sum()) if shard >= kept else 0
            pages.append(len(tests))
    found = np.concatenate(results)
    write_rows(stream, found, np.repeat(np.arange(len(pages)), pages), len(pages))
    return {"windows_not_remembered": int(memory.used[1]), "repeats": repeated}


def _settle(scenes: Scenes, shard: int, length: int, reach: int, memory: Memory) -> Array:
    low, high, of_shard, of_row = settle(scenes, np.uint32(shard), length, reach, WINDOWS_PER_CORE, memory)
    results = np.empty(len(low), RESULT)
    results["low"], results["high"], results["shard"], results["row"] = low, high, of_shard, of_row
    return results
