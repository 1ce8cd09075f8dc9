"""The order of all documents, in bounded memory.

Documents are ordered by their draw (`draws.draws`, purpose "tokenize"), ties by input shard and row. Those of some
input shards at a time are sorted; then the sorted lists are merged, a range of draws at a time. `layout` says where
they go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from dolma_pipe.draws import MANY, draws
from dolma_pipe.stages.tokenize.ids import map_array

compute: Any = pyarrow.compute

SORTED = np.dtype([("draw", "<u8"), ("run", "<u4"), ("row", "<u4"), ("tokens", "<u4")])
"""A document; `run` is its input shard's number."""

ORDERED = np.dtype([("run", "<u4"), ("row", "<u4"), ("tokens", "<u4")])
"""A document in its place."""

PURPOSE = "tokenize"
MERGED_AT_ONCE = 1 << 21


def warm() -> None:
    """Compile what draws many documents."""
    draws(0, PURPOSE, "", pa.array([""] * MANY))


def drawn_documents(
    documents: pa.Table, run: int, seed: int, copy: int, taken_down: Collection[str] = ()
) -> NDArray[Any]:
    """The documents of one run (`runs.SCHEMA`) with their draws, without those that were taken down."""
    found = np.empty(len(documents), SORTED)
    found["run"], found["row"] = run, np.arange(len(documents))
    found["tokens"] = np.diff(documents["end"].to_numpy(), prepend=0)
    ids, sources = documents["id"].combine_chunks(), documents["source"].combine_chunks().dictionary_encode()
    indices = sources.indices.to_numpy(zero_copy_only=False)
    for number, source in enumerate(sources.dictionary.to_pylist()):
        rows = np.flatnonzero(indices == number)
        found["draw"][rows] = draws(seed, PURPOSE, source, ids.take(pa.array(rows)), copy)
    if taken_down:
        gone = compute.is_in(documents["id"], pa.array(sorted(taken_down), pa.string())).to_numpy()
        found = found[~gone]
    return found


def in_order(documents: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The documents of consecutive runs, sorted."""
    found = np.concatenate(documents)
    order = np.argsort(found["draw"])  # four times faster than a stable sort, which only equal draws would need
    draw = found["draw"][order]
    same = draw[1:] == draw[:-1]
    if same.any():
        rows = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        order[rows] = order[rows][np.lexsort((order[rows], draw[rows]))]
    return np.take(found, order)


def merge(paths: Sequence[str]) -> Iterator[NDArray[Any]]:
    """All documents of sorted files, which hold consecutive runs, in order and in pieces."""
    files = [map_array(path, SORTED) for path in paths]
    ranges = -(-sum(map(len, files)) // MERGED_AT_ONCE)
    bounds = np.array([number * (1 << 64) // ranges for number in range(1, ranges)], np.uint64)
    cuts = [[0, *np.searchsorted(file["draw"], bounds).tolist(), len(file)] for file in files]
    for number in range(ranges):
        pieces = [file[cut[number] : cut[number + 1]] for file, cut in zip(files, cuts, strict=True)]
        documents = in_order(pieces)  # pieces are by (draw, run, row), and in order of their runs
        found = np.empty(len(documents), ORDERED)
        for name in ("run", "row", "tokens"):
            found[name] = documents[name]
        yield found
