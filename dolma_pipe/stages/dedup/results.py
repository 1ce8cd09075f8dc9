"""The attributes of one page, from its spill and what became of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.kernels.clusters import occurrences
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.clusters import Entries
from dolma_pipe.tagger import Field, count64, flag, real, span_array, spans, string
from dolma_pipe.types import Counts

WHERE = {"dataset": pa.string(), "shard": pa.string(), "row": pa.int64()}

DOCUMENT_FIELDS = {
    "is_duplicate": flag("does an equal document come earlier in documented order (data set, shard, row)?"),
    "duplicate_of": Field(
        pa.struct([*WHERE.items(), ("id", pa.string())]), "the first copy; null where not a duplicate"
    ),
    "cluster": string("the key that all copies share, 32 hexadecimal digits; null when alone"),
    "size": count64("copies in the cluster, this one included; 1 when alone"),
    "rank": count64("copies earlier in documented order; 0 for the first"),
}

PARAGRAPH_FIELDS = {
    "duplicate": spans(
        "paragraphs of which an equal one comes earlier in documented order, the separator that follows included",
        of=pa.struct(list(WHERE.items())),
    ),
    "duplicate_fraction": real("code points in those spans over all of the document; 0 for an empty one"),
}


class Places:
    """Names of pages: `pages[i]` says to which of `shards` (data set, shard) page i belongs."""

    def __init__(self, shards: Sequence[tuple[str, str]], pages: Sequence[int]) -> None:
        self._shard_of_page = np.repeat(np.arange(len(shards)), pages)
        self._datasets = pa.array([dataset for dataset, _ in shards], pa.string())
        self._shards = pa.array([shard for _, shard in shards], pa.string())

    def struct(self, pages: npt.NDArray[Any], rows: npt.NDArray[Any], ids: pa.Array | None = None) -> pa.StructArray:
        """`struct<dataset, shard, row[, id]>` of documents."""
        shard = pa.array(self._shard_of_page[pages])
        arrays = [self._datasets.take(shard), self._shards.take(shard), pa.array(rows.astype(np.int64))]
        names = list(WHERE)
        if ids is not None:
            return pa.StructArray.from_arrays([*arrays, ids], names=[*names, "id"])
        return pa.StructArray.from_arrays(arrays, names=names)


class Rows(NamedTuple):
    """Attribute rows: ids of the documents, a column per field, what to count."""

    ids: pa.Array
    columns: dict[str, Any]
    counts: Counts


def document_rows(spill: ArrayReader, page: int, found: Entries, places: Places) -> Rows:
    """Cluster, size and rank of every document of a page."""
    has_key = spill.read(f"{page}/counts") > 0
    slots, ranks, sizes, entry = _records(spill, page, found)
    rank, size = np.zeros(len(has_key), np.int64), np.ones(len(has_key), np.int64)
    rank[has_key], size[has_key] = ranks, sizes
    document = np.flatnonzero(has_key)
    clustered = entry >= 0
    columns = {
        "is_duplicate": rank > 0,
        "duplicate_of": _first_copies(found, entry, ranks > 0, document, len(has_key), places),
        "cluster": _scatter(_hexadecimal(spill, page, slots[clustered]), document[clustered], len(has_key)),
        "size": size,
        "rank": rank,
    }
    clusters = int(((sizes > 1) & (ranks == 0)).sum())
    return Rows(_ids(spill, page), columns, {"duplicates": int((rank > 0).sum()), "clusters": clusters})


def _records(spill: ArrayReader, page: int, found: Entries) -> tuple[npt.NDArray[Any], ...]:
    """Per record: its slot, its rank, the size of its cluster, its entry (-1: alone)."""
    slots = spill.read(f"{page}/slots")
    entry = found.of_slot[slots]
    known = entry >= 0
    ranks, sizes = np.zeros(len(slots), np.int64), np.ones(len(slots), np.int64)
    ranks[known] = found.entries["rank"][entry[known]] + occurrences(slots, len(found.of_slot))[known]
    sizes[known] = found.entries["size"][entry[known]]
    return slots, ranks, sizes, entry


def _ids(spill: ArrayReader, page: int) -> pa.Array:
    return spill.read_strings(f"{page}/ids")


def _first_copies(
    found: Entries,
    entry: npt.NDArray[np.int64],
    duplicate: npt.NDArray[np.bool_],
    document: npt.NDArray[np.int64],
    documents: int,
    places: Places,
) -> pa.Array:
    chosen = entry[duplicate]
    entries = found.entries[chosen]
    ids = found.ids.take(pa.array(chosen)).combine_chunks().cast(pa.string()) if found.ids is not None else None
    return _scatter(places.struct(entries["page"], entries["row"], ids), document[duplicate], documents)


def _scatter(values: pa.Array, rows: npt.NDArray[np.int64], length: int) -> pa.Array:
    """`values[i]` at `rows[i]`, null elsewhere."""
    indices = np.zeros(length, np.int64)
    absent = np.ones(length, np.bool_)
    indices[rows], absent[rows] = np.arange(len(rows)), False
    return values.take(pa.array(indices, mask=absent))


def _hexadecimal(spill: ArrayReader, page: int, slots: npt.NDArray[Any]) -> pa.Array:
    """The 128-bit keys of some slots as 32 hexadecimal digits each."""
    keys = spill.read(f"{page}/keys")[slots]
    halves = np.stack([keys["first"], keys["second"]], axis=1).astype(">u8").view(np.uint8)
    nibbles = np.stack([halves >> 4, halves & 15], axis=-1).reshape(-1)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    offsets = np.arange(0, 32 * len(keys) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(digits))


def paragraph_rows(spill: ArrayReader, page: int, found: Entries, places: Places) -> Rows:
    """Spans of repeated paragraphs of every document of a page."""
    counts, chars = spill.read(f"{page}/counts"), spill.read(f"{page}/chars")
    _, ranks, _, entry = _records(spill, page, found)
    repeated = ranks > 0
    span = spill.read(f"{page}/spans")[repeated]
    entries = found.entries[entry[repeated]]
    ends = np.cumsum(counts, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(repeated)])[np.concatenate([[0], ends])]
    lengths = np.concatenate([[0], np.cumsum((span["end"] - span["start"]).astype(np.int64))])
    removed = np.diff(lengths[offsets])
    of = places.struct(entries["page"], entries["row"])
    duplicate = span_array(PARAGRAPH_FIELDS["duplicate"], offsets, span["start"], span["end"], of=of)
    columns = {"duplicate": duplicate, "duplicate_fraction": removed / np.maximum(chars, 1)}
    counted = {"duplicate_paragraphs": len(span), "duplicate_characters": int(removed.sum())}
    return Rows(_ids(spill, page), columns, {**counted, "characters": int(chars.sum())})
