"""Lines of a batch, and parts of lines, as spans in code points of their documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.kernels.line_kinds import chars_in
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.tagger import Field, span_array

_AT_ONCE = 1 << 24


class Places:
    """Spans of lines that hold a word, and of parts of them; what is a whole line takes its newline along."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.index = batch, batch.filled_lines
        self.newlines = np.ones(len(self.index.starts), np.bool_)
        some = np.diff(self.index.offsets) > 0
        last = self.index.offsets[1:][some] - 1
        self.newlines[last] = self.index.ends[last] < batch.offsets[1:][some]

    def lines(self, field: Field, chosen: Any, score: Any = 1.0) -> pa.ListArray:
        starts = self.index.places[chosen]
        ends = starts + self.index.chars[chosen] + self.newlines[chosen]
        return span_array(field, running(chosen)[self.index.offsets], starts, ends, score)

    def parts(self, field: Field, lines: Any, froms: Any, tos: Any) -> pa.ListArray:
        """Spans of the bytes `froms` to `tos`, one in each of the numbered lines."""
        before = chars_in(self.batch.data, self.index.starts[lines].astype(np.int64), froms)
        lengths = chars_in(self.batch.data, froms, tos)
        whole = (lengths == self.index.chars[lines]) & self.newlines[lines]
        starts = self.index.places[lines] + before
        return span_array(field, np.searchsorted(lines, self.index.offsets), starts, starts + lengths + whole)


def text_between(data: Any, starts: Any, ends: Any) -> pa.LargeStringArray:
    """The texts `data[starts[i]:ends[i]]`."""
    found, offsets = gather_ranges(data, starts, ends)
    return pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(found))


def in_parts(places: Any, size: int) -> list[Any]:
    """Numbers of lines in parts of which each holds about 16 MB, if all of them hold `size` bytes."""
    return np.array_split(places, size // _AT_ONCE + 1)


def running(values: Any) -> Any:
    """int64[n + 1]: the sum of the values before each."""
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))


def summed(values: Any, offsets: Any) -> Any:
    """Sums of `values[offsets[i]:offsets[i + 1]]`, whole numbers: int64[n]."""
    found, some = np.zeros(len(offsets) - 1, np.int64), np.diff(offsets) > 0
    if some.any():
        found[some] = np.add.reduceat(values, offsets[:-1][some], dtype=np.int64)
    return found
