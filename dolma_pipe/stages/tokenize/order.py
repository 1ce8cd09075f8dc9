"""The order of all documents, in bounded memory, and where shards begin in it.

Documents are ordered by their draw (`draws.draws`, purpose "tokenize"), ties by input shard and row. Each input shard
sorts its own; then the sorted lists are merged, a range of draws at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe.draws import draws
from dolma_pipe.stages.tokenize.runs import map_array

SORTED = np.dtype([("draw", "<u8"), ("row", "<u4"), ("tokens", "<u4")])
"""A document of one input shard."""

ORDERED = np.dtype([("run", "<u4"), ("row", "<u4"), ("tokens", "<u4")])
"""A document of all input; `run` is the input shard's number."""

PURPOSE = "tokenize"
MERGED_AT_ONCE = 1 << 21


def sorted_documents(documents: pa.Table, seed: int, copy: int) -> NDArray[Any]:
    """The documents of one run (`runs.SCHEMA`) by (draw, row)."""
    found = np.empty(len(documents), SORTED)
    found["row"] = np.arange(len(documents))
    found["tokens"] = np.diff(documents["end"].to_numpy(), prepend=0)
    sources = documents["source"].combine_chunks().dictionary_encode()
    indices = sources.indices.to_numpy(zero_copy_only=False)
    for number, source in enumerate(sources.dictionary.to_pylist()):
        rows = np.flatnonzero(indices == number)
        found["draw"][rows] = draws(seed, PURPOSE, source, documents["id"].take(pa.array(rows)), copy)
    return found[np.argsort(found["draw"], kind="stable")]


def merge(paths: Sequence[str]) -> Iterator[NDArray[Any]]:
    """All documents of sorted files in order, in pieces; a document's `run` is its file's number."""
    files = [map_array(path, SORTED) for path in paths]
    ranges = -(-sum(map(len, files)) // MERGED_AT_ONCE)
    bounds = np.array([number * (1 << 64) // ranges for number in range(1, ranges)], np.uint64)
    cuts = [[0, *np.searchsorted(file["draw"], bounds).tolist(), len(file)] for file in files]
    for number in range(ranges):
        pieces = [file[cut[number] : cut[number + 1]] for file, cut in zip(files, cuts, strict=True)]
        documents = np.concatenate(pieces)
        runs = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        order = np.argsort(documents["draw"], kind="stable")  # pieces are by (draw, row), and in order of their runs
        found = np.empty(len(documents), ORDERED)
        found["run"], found["row"], found["tokens"] = runs[order], documents["row"][order], documents["tokens"][order]
        yield found


class Cutter:
    """Finds where shards begin, as documents go by.

    A shard closes at the last document end at or below its target size. Only a document longer than that is cut:
    it begins a shard, fills as many as it can, and others follow its last part.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.starts: list[tuple[int, int]] = [(0, 0)]
        """Per shard: its first document's number in the order, and how many of its tokens earlier shards hold."""
        self.documents = self.tokens = 0
        self._begin = 0

    def add(self, lengths: NDArray[Any]) -> None:
        """The next documents, by their tokens."""
        ends = self.tokens + np.cumsum(lengths.astype(np.int64))
        while (over := int(np.searchsorted(ends, self._begin + self.target, side="right"))) < len(ends):
            before = int(ends[over - 1]) if over else self.tokens
            if before > self._begin:
                self._begin = before
                self.starts.append((self.documents + over, 0))
            else:
                self._begin += self.target
                self.starts.append((self.documents + over, self._begin - before))
        self.documents += len(ends)
        self.tokens = int(ends[-1]) if len(ends) else self.tokens
