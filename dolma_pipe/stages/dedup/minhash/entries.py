"""What is written about the documents of one partition of the stars, in documented order.

entries      ENTRY[m]      every document of every star     bounds      int64[pages+1]
near         int32[k]      ranks (see `NEAR_FIELDS`)        near/bounds int64[m+1]
keys         uint64[m * 2] keys of the words of the centre  ids         strings[m]: of the centre
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Int64s, UInt64s
from dolma_pipe.kernels.stars import halves
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.minhash.numbering import Documents, Numbering, runs
from dolma_pipe.stages.dedup.minhash.stars import MEMBER
from dolma_pipe.stages.dedup.pages import PAGES_AT_ONCE

ENTRY = np.dtype([
    ("document", "<u4"), ("centre", "<u4"), ("size", "<i8"), ("rank", "<i8"), ("text", "<i8"), ("bands", "<u2"),
    ("score", "<f8"),
])  # fmt: skip
"""`text` is the rank of the first of the star with the same words."""


class Star(NamedTuple):
    """The documents of stars, in documented order, each with the ranks of those that it was verified against."""

    entries: npt.NDArray[Any]
    near: npt.NDArray[np.int32]
    bounds: Int64s


def gather_stars(members: npt.NDArray[Any], sides: UInt64s) -> Star:
    """Ranks and sizes of stars from their members (without centres) and the verified pairs among these."""
    entries = _ranked(members)
    order = np.argsort(entries["document"], kind="stable")
    entries = entries[order]
    near, bounds = _near_ranks(entries, _inner(entries, sides))
    return Star(entries, near, bounds)


def _ranked(members: npt.NDArray[Any]) -> npt.NDArray[Any]:
    centres = np.unique(members["centre"])
    own = np.zeros(len(centres), MEMBER)
    own["centre"] = own["document"] = own["text"] = centres
    everyone = np.concatenate([own, members])
    everyone = everyone[np.lexsort((everyone["document"], everyone["centre"]))]
    begins = np.searchsorted(everyone["centre"], centres)
    sizes = np.diff(np.append(begins, len(everyone)))
    entries = np.empty(len(everyone), ENTRY)
    for name in ("document", "centre", "bands", "score"):
        entries[name] = everyone[name]
    entries["size"] = np.repeat(sizes, sizes)
    entries["rank"] = np.arange(len(everyone)) - np.repeat(begins, sizes)
    place = np.argsort(everyone["document"], kind="stable")
    firsts = place[np.searchsorted(everyone["document"], everyone["text"], sorter=place)]
    entries["text"] = entries["rank"][firsts]
    return entries


def _inner(entries: npt.NDArray[Any], sides: UInt64s) -> tuple[Int64s, Int64s]:
    """(places of the earlier, of the later document) of those pairs that are within a star."""
    earlier, later = (np.searchsorted(entries["document"], half) for half in halves(sides))
    known = earlier < len(entries)
    known[known] = entries["document"][earlier[known]] == halves(sides)[0][known]
    known[known] = entries["centre"][earlier[known]] == entries["centre"][later[known]]
    return earlier[known], later[known]


def _near_ranks(entries: npt.NDArray[Any], inner: tuple[Int64s, Int64s]) -> tuple[npt.NDArray[np.int32], Int64s]:
    """For every document of another text than the centre's: rank 0, then those of the earlier near texts."""
    earlier, later = inner
    others = np.flatnonzero((entries["text"] == entries["rank"]) & (entries["rank"] > 0))
    places = np.concatenate([others, later])
    ranks = np.concatenate([np.zeros(len(others), np.int64), entries["rank"][earlier]])
    order = np.lexsort((ranks, places))
    counts = np.bincount(places, minlength=len(entries))
    begins = np.cumsum(counts) - counts
    first = _first_of_text(entries)
    bounds = np.concatenate([[0], np.cumsum(counts[first])])
    picked = np.arange(bounds[-1]) + np.repeat(begins[first] - bounds[:-1], counts[first])
    return ranks[order][picked].astype(np.int32), bounds


def _first_of_text(entries: npt.NDArray[Any]) -> Int64s:
    """The place of the first document with the same words, for each."""
    order = np.lexsort((entries["rank"], entries["centre"]))
    begins = np.empty(len(entries), np.int64)  # of the document's star in that order
    begins[order] = np.arange(len(entries)) - entries["rank"][order]
    return order[begins + entries["text"]]


def write_entries(stream: Any, star: Star, paths: Sequence[str], numbering: Numbering) -> None:
    """Store a partition; `paths` are the signatures, in which ids and keys of the centres lie."""
    out = ArrayWriter(stream)
    out.add("entries", star.entries)
    out.add("bounds", numbering.bounds(star.entries["document"]))
    out.add("near", star.near)
    out.add("near/bounds", star.bounds)
    centres, which = np.unique(star.entries["centre"], return_inverse=True)
    ids, keys = _of_centres(centres, paths, numbering)
    out.add("keys", keys[which].reshape(-1))
    out.add_strings("ids", ids.take(pa.array(which)))
    out.close()


def _of_centres(centres: Documents, paths: Sequence[str], numbering: Numbering) -> tuple[pa.Array, UInt64s]:
    """Ids and keys of sorted documents, from the pages of signatures that they are on."""
    ids: list[pa.Array] = [pa.array([], pa.large_string())]
    keys: list[UInt64s] = [np.empty((0, 2), np.uint64)]
    shards = numbering.shards_of(centres)
    pages, places = numbering.places_of(centres)
    for shard, of_shard in runs(shards):
        with ArrayReader(paths[shard]) as file:
            for page, of_page in runs(pages[of_shard]):
                wanted = places[of_shard][of_page]
                ids.append(file.read_strings(f"{page}/ids").take(pa.array(wanted)))
                keys.append(file.read(f"{page}/keys").reshape(-1, 2)[wanted])
    return pa.concat_arrays(ids), np.concatenate(keys)


class PageEntries(NamedTuple):
    """The entries of one page of documents, from all partitions."""

    entries: npt.NDArray[Any]
    near: pa.ListArray
    keys: UInt64s
    ids: pa.Array


def read_entries(paths: Sequence[str], pages: range) -> Iterator[PageEntries]:
    """What all partitions have of each page, in order."""
    for first in range(pages.start, pages.stop, PAGES_AT_ONCE):
        group = range(first, min(first + PAGES_AT_ONCE, pages.stop))
        found: list[list[PageEntries]] = [[] for _ in group]
        for path in paths:
            with ArrayReader(path) as file:
                for parts, (start, stop) in zip(found, pairwise(_bounds(file, group)), strict=True):
                    parts.append(_read(file, start, stop))
        for parts in found:
            entries, near, keys, ids = zip(*parts, strict=True)
            yield PageEntries(
                np.concatenate(entries), pa.concat_arrays(near), np.concatenate(keys), pa.concat_arrays(ids)
            )


def _bounds(file: ArrayReader, pages: range) -> list[int]:
    return file.read("bounds", pages.start, pages.stop + 1).tolist()


def _read(file: ArrayReader, start: int, stop: int) -> PageEntries:
    bounds = file.read("near/bounds", start, stop + 1)
    near = file.read("near", int(bounds[0]), int(bounds[-1]))
    lists = pa.ListArray.from_arrays(pa.array(bounds - bounds[0], pa.int32()), pa.array(near, pa.int32()))
    keys = file.read("keys", 2 * start, 2 * stop).reshape(-1, 2)
    return PageEntries(file.read("entries", start, stop), lists, keys, file.read_strings("ids", start, stop))
