"""Lines (`text.split("\\n")`) found while they are read, so that a text of nothing but newlines takes no memory."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.masks import WIDTH, below, equal, first, popcount

_NEWLINE = 0x0A
_ONE, _LAST = np.uint64(1), np.uint64(63)


@piece
def line_end(data: np.ndarray, start: int, end: int) -> int:
    """Position of the first newline in `data[start:end]`, or `end`."""
    at = start
    while at < end:
        found = equal(data, at, _NEWLINE)
        if found:
            return min(at + first(found), end)
        at += WIDTH
    return end


@kernel
def count_lines(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Lines of each document, one of an empty one: int64[n]."""
    counts = np.ones(len(offsets) - 1, np.int64)
    for document in range(len(counts)):
        for at in range(offsets[document], offsets[document + 1], WIDTH):
            here = below(min(offsets[document + 1] - at, WIDTH))
            counts[document] += popcount(equal(data, at, _NEWLINE) & here)
    return counts


@piece
def most_filled(data: np.ndarray, start: int, end: int) -> int:
    """As many as the lines of `data[start:end]` that are not empty, or one or two more."""
    count, before = 1, np.uint64(0)
    for at in range(start, end, WIDTH):
        found = equal(data, at, _NEWLINE) & below(min(end - at, WIDTH))
        count += popcount(found & ~(found << _ONE | before))
        before = found >> _LAST
    return count


@piece
def outer_empty_lines(data: np.ndarray, start: int, end: int) -> int:
    """How many of a document's first and last line are empty, one line counting once: the empty strings that
    `re.split(r"\\n+", text)` leaves."""
    if start == end:
        return 1
    return np.int64(data[start] == _NEWLINE) + np.int64(data[end - 1] == _NEWLINE)
