"""Candidate pairs of one partition of the buckets, in chunks that are sorted each for itself.

    N/pairs   uint64[m]  the later document of a pair in the high half     N/pairs/bounds   int64[pages+1]
    N/bands   uint16[m]  in how many buckets of the chunk both are
    N/twins   uint64[k]  a document and, in the low half, a later one      N/twins/bounds   int64[pages+1]
                         with the same words
    N/wanted  uint32[w]  the documents of the pairs                        N/wanted/bounds  int64[pages+1]

`bounds` say where the part of each page of documents begins: that of the documents in the high half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_pipe.batch import Int64s, UInt64s
from dolma_pipe.kernels.stars import Buckets, bucket_pairs, halves, make_bench
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.minhash.numbering import Numbering
from dolma_pipe.stages.dedup.pages import PAGES_AT_ONCE
from dolma_pipe.types import Counts

CHUNK = 1 << 21
"""Pairs that are sorted together."""


def write_pairs(
    buckets: Buckets, most: int, old: int, twin_keys: np.uint64, numbering: Numbering, stream: Any
) -> Counts:
    """Compare within the buckets (see `kernels.stars.bucket_pairs`); returns counts, `chunks` among them."""
    out = ArrayWriter(stream)
    bench = make_bench(buckets, most)
    pairs, twins = np.empty(CHUNK + most, np.uint64), np.empty(CHUNK, np.uint64)
    counts = {"chunks": 0, "pairs": 0, "twins": 0, "not_compared": 0}
    while int(bench.state[0]) < len(buckets.keys):
        found, copies = bucket_pairs(buckets, bench, old, twin_keys, pairs, twins)
        distinct, bands = np.unique(pairs[:found], return_counts=True)
        chunk = counts["chunks"]
        _add(out, f"{chunk}/pairs", distinct, numbering.bounds(halves(distinct)[1]))
        out.add(f"{chunk}/bands", bands.astype(np.uint16))
        same = np.sort(twins[:copies])
        _add(out, f"{chunk}/twins", same, numbering.bounds(halves(same)[1]))
        wanted = np.unique(np.concatenate(halves(distinct)))
        _add(out, f"{chunk}/wanted", wanted, numbering.bounds(wanted))
        counts["chunks"] += 1
        counts["pairs"] += len(distinct)
        counts["twins"] += copies
    counts["not_compared"] = int(bench.state[3])
    out.close()
    return counts


def _add(out: ArrayWriter, name: str, values: npt.NDArray[Any], bounds: Int64s) -> None:
    out.add(name, values)
    out.add(f"{name}/bounds", bounds)


def read_candidates(paths: Sequence[str], pages: range) -> Iterator[tuple[int, UInt64s, npt.NDArray[np.uint16]]]:
    """Page by page the pairs whose later document is of it, sorted, and in how many bands each of them was found."""
    for page, (pairs, bands) in _parts(paths, pages, "pairs", ("pairs", "bands")):
        distinct, which = np.unique(np.concatenate([np.empty(0, np.uint64), *pairs]), return_inverse=True)
        counts = np.bincount(which, np.concatenate([np.empty(0, np.uint16), *bands]), len(distinct))
        yield page, distinct, counts.astype(np.uint16)


def read_twins(paths: Sequence[str], pages: range) -> Iterator[tuple[int, UInt64s]]:
    """Page by page the twins of its documents, sorted."""
    for page, (twins,) in _parts(paths, pages, "twins", ("twins",)):
        yield page, np.sort(np.concatenate([np.empty(0, np.uint64), *twins]))


def read_wanted(paths: Sequence[str], pages: range) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    """Page by page its documents that are in any pair, sorted."""
    for page, (wanted,) in _parts(paths, pages, "wanted", ("wanted",)):
        yield page, np.unique(np.concatenate([np.empty(0, np.uint32), *wanted]))


Parts = list[list[npt.NDArray[Any]]]
"""Of every array that was asked for, what each chunk has of a page."""


def _parts(paths: Sequence[str], pages: range, index: str, names: Sequence[str]) -> Iterator[tuple[int, Parts]]:
    for first in range(pages.start, pages.stop, PAGES_AT_ONCE):
        group = range(first, min(first + PAGES_AT_ONCE, pages.stop))
        found: list[Parts] = [[[] for _ in names] for _ in group]
        for path in paths:
            with ArrayReader(path) as file:
                _add_chunks(file, group, index, names, found)
        yield from zip(group, found, strict=True)


def _add_chunks(file: ArrayReader, group: range, index: str, names: Sequence[str], found: list[Parts]) -> None:
    chunk = 0
    while file.has(f"{chunk}/pairs"):
        bounds = file.read(f"{chunk}/{index}/bounds", group.start, group.stop + 1).tolist()
        if bounds[0] < bounds[-1]:
            for number, name in enumerate(names):
                values = file.read(f"{chunk}/{name}", bounds[0], bounds[-1])
                for parts, (start, stop) in zip(found, pairwise(bounds), strict=True):
                    parts[number].append(values[start - bounds[0] : stop - bounds[0]])
        chunk += 1
