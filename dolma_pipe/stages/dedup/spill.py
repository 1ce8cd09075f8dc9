"""The spill of one shard: the keys of its documents or of parts of them, sorted page by page.

A page covers consecutive documents and about `PAGE_RECORDS` keyed records. It
holds each distinct key once, in key order, with the row of its first record
and how many there are: a key that occurs a million times costs as much as any
other. `slots` says, record by record, which of the page's keys it has, so that
whatever is later found out about a key needs no search to reach its records.

    N/keys       KEY[m]       in key order        N/slots   uint32[r]  per record, in row order
    N/directory  int64[b+1]   where each of b     N/counts  uint32[n]  records per document
                 equal ranges of keys begins      N/ids     strings[n]
    N/first_ids  strings[m]   (documents only)    and what else a kind of key wants back per page

Shards that new ones are only compared with are spilled without their records:
the left column is all that is asked about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Int64s, UInt64s
from dolma_pipe.kernels.clusters import distinct_keys
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.pages import Gathered

PAGE_RECORDS = 1 << 17  # what sorting them touches fits into the cache of a core
PER_RANGE = 256
"""Keys of a page between two entries of its directory, on average."""

KEY = np.dtype([("first", "<u8"), ("second", "<u8"), ("row", "<u4"), ("count", "<u4")])
Records = npt.NDArray[Any]


class Keyed(NamedTuple):
    """What one batch adds: the keys of its records, and for every document its id and how many records it has.

    `more` holds arrays that are kept page by page and handed back when results are written.
    """

    first: UInt64s
    second: UInt64s
    counts: npt.NDArray[np.uint32]
    ids: pa.Array
    more: Mapping[str, Records] = {}


class SpillWriter:
    """Gathers batches into pages; `pages`, `keys` and `key_bytes` (what a partition has to read) add up.

    `with_ids`: keep the id of every key's first document. `with_records`: keep which record has which key.
    """

    def __init__(self, stream: Any, with_ids: bool, with_records: bool = True) -> None:
        self._out = ArrayWriter(stream)
        self._with_ids, self._with_records = with_ids, with_records
        self._page: Gathered[Keyed] = Gathered(PAGE_RECORDS)
        self.pages = self.keys = self.key_bytes = 0

    def write(self, keyed: Keyed) -> None:
        if self._page.add(keyed, len(keyed.first), len(keyed.ids)):
            self._flush()

    def close(self) -> None:
        if self._page:
            self._flush()
        self._out.close()

    def _flush(self) -> None:
        row, parts = self._page.row, self._page.take()
        first = np.concatenate([part.first for part in parts])
        second = np.concatenate([part.second for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        ids = pa.concat_arrays([part.ids.cast(pa.large_string()) for part in parts])
        rows = np.repeat(np.arange(row, row + len(counts), dtype=np.uint32), counts)
        slots, heads, sizes = distinct_keys(first, second)
        keys = np.empty(len(heads), KEY)
        keys["first"], keys["second"] = first[heads], second[heads]
        keys["row"], keys["count"] = rows[heads], sizes
        self._add(keys=keys, directory=directory(keys["first"]))
        self.key_bytes += keys.nbytes
        if self._with_ids:
            first_ids = ids.take(pa.array(rows[heads] - row))
            self._out.add_strings(f"{self.pages}/first_ids", first_ids)
            self.key_bytes += first_ids.nbytes
        if self._with_records:
            more = {name: np.concatenate([part.more[name] for part in parts]) for name in parts[0].more}
            self._add(slots=slots, counts=counts, **more)
            self._out.add_strings(f"{self.pages}/ids", ids)
        self.pages += 1
        self.keys += len(keys)

    def _add(self, **arrays: npt.NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._out.add(f"{self.pages}/{name}", array)


def directory(first: npt.NDArray[np.uint64]) -> Int64s:
    """Where the keys of each of 2^b equal ranges begin; the last item is their number."""
    bits = min(16, (len(first) // PER_RANGE).bit_length())
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.empty(0, np.uint64)
    return np.concatenate([[0], np.searchsorted(first, edges), [len(first)]]).astype(np.int64)


class KeyRange(NamedTuple):
    """Partition `number` of `of`: the keys whose first half lies in one of `of` equal ranges."""

    number: int
    of: int

    @property
    def name(self) -> str:
        return f"partition-{self.number:05d}-of-{self.of:05d}"

    @property
    def low(self) -> int:
        return -(-(self.number << 64) // self.of)

    @property
    def high(self) -> int:
        """The first value that is no longer in it; 2^64 for the last one."""
        return -(-((self.number + 1) << 64) // self.of)


class PageKeys(NamedTuple):
    """The keys of one page that lie in a range; `slot` is the page's number of the first of them."""

    slot: int
    keys: Records
    first_ids: pa.Array | None


def read_keys(file: ArrayReader, page: int, part: KeyRange, with_ids: bool) -> PageKeys:
    """Reads what lies in the range, and at most two directory entries more."""
    directory = file.read(f"{page}/directory")
    bits = (len(directory) - 1).bit_length() - 1
    start = int(directory[part.low >> (64 - bits)])
    stop = int(directory[((part.high - 1) >> (64 - bits)) + 1])
    keys = file.read(f"{page}/keys", start, stop)
    first = np.ascontiguousarray(keys["first"])
    low = int(np.searchsorted(first, np.uint64(part.low)))
    high = len(keys) if part.high == 1 << 64 else int(np.searchsorted(first, np.uint64(part.high)))
    slot = start + low
    ids = file.read_strings(f"{page}/first_ids", slot, start + high) if with_ids else None
    return PageKeys(slot, keys[low:high], ids)


def read_partition(path: str, part: KeyRange, with_ids: bool) -> Iterator[PageKeys]:
    """The range's keys of every page of a spill, in order."""
    with ArrayReader(path) as file:
        page = 0
        while file.has(f"{page}/keys"):
            yield read_keys(file, page, part, with_ids)
            page += 1
