"""What FineWeb asks about lines: marks at their end, short ones, repeated ones."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.alphabetic import is_member
from dolma_pipe.kernels.firsts import name_keys, table_size
from dolma_pipe.kernels.hashing import hash64
from dolma_pipe.kernels.marks import Marks, first_inside
from dolma_pipe.kernels.newlines import line_end, most_filled
from dolma_pipe.kernels.utf8 import chars_between, code_point_at

FILLED, PUNCTUATED, SHORT, REPEATED_CHARACTERS, ROWS = range(5)
"""Rows of what `fineweb_signals` returns."""


@piece
def _last_code_point(data: np.ndarray, start: int, end: int) -> int:
    at = end - 1
    while at > start and data[at] & 0xC0 == 0x80:
        at -= 1
    return code_point_at(data, at)[0]


@kernel
def fineweb_signals(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, terminal: np.ndarray, short_length: int, most_slots: int
) -> np.ndarray:
    """Counts over the lines (`text.split("\\n")`) of each document that hold a word: int64[ROWS, n].

    FILLED all of them; PUNCTUATED end with a member of the bitmap `terminal`, white space not stripped; SHORT have at
    most `short_length` code points; REPEATED_CHARACTERS are code points of lines that occurred before.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, most_filled(data, offsets[document], offsets[document + 1]))
    chars, names, counts = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    values = np.empty(longest, np.uint64)
    keys = np.empty(table_size(longest, most_slots), np.uint64)
    slots = np.empty(len(keys), np.int32)
    for document in range(len(offsets) - 1):
        at, high, filled = offsets[document], offsets[document + 1], 0
        while at < high:
            start, end = at, line_end(data, at, high)
            at = end + 1
            if first_inside(marks, start, end) < end:
                chars[filled], values[filled] = chars_between(data, start, end), hash64(data, start, end)
                found[SHORT, document] += chars[filled] <= short_length
                found[PUNCTUATED, document] += is_member(_last_code_point(data, start, end), terminal)
                filled += 1
        found[FILLED, document] = filled
        name_keys(values, 0, filled, names, counts, keys, slots)
        for i in range(filled):
            if names[i] != i:
                found[REPEATED_CHARACTERS, document] += chars[i]
    return found
