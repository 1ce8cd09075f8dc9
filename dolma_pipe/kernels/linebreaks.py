"""Lines as `str.splitlines` has them: all of Unicode's line breaks, and none after the last one.

Every line break is white space, so lines are found in the gaps between words.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.lines import ends_with_dots, is_horizontal_ellipsis
from dolma_pipe.kernels.marks import Marks, behind_inside, first_inside
from dolma_pipe.kernels.masks import WIDTH, below, equal, first, most, without_first

LINES, BULLETS, ELLIPSES, ROWS = range(4)
"""Rows of what `splitlines_signals` returns."""


@piece
def break_width(data: np.ndarray, at: int, end: int) -> int:
    """Bytes of the line break that begins at `at`, or 0 if none does."""
    byte = data[at]
    if byte <= 0x1E:
        if byte == 0x0D:
            return 2 if at + 1 < end and data[at + 1] == 0x0A else 1
        return 1 if 0x0A <= byte <= 0x0C or byte >= 0x1C else 0
    if byte == 0xC2:
        return 2 if data[at + 1] == 0x85 else 0
    if byte == 0xE2 and data[at + 1] == 0x80:
        return 3 if data[at + 2] == 0xA8 or data[at + 2] == 0xA9 else 0
    return 0


@piece
def _begins_with_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """True for `-` and U+2022."""
    if data[start] == 0x2D:
        return True
    return end - start >= 3 and data[start] == 0xE2 and data[start + 1] == 0x80 and data[start + 2] == 0xA2


@piece
def _breaks(data: np.ndarray, at: int) -> np.uint64:
    """The bytes from `at` on that may begin a line break."""
    found = (most(data, at, 0x0D) & ~most(data, at, 0x09)) | (most(data, at, 0x1E) & ~most(data, at, 0x1B))
    return found | equal(data, at, 0xC2) | equal(data, at, 0xE2)


@piece
def next_break(data: np.ndarray, start: int, end: int) -> int:
    """Where the first line break of `data[start:end]` begins, or `end`."""
    at = start
    while at < end:
        found = _breaks(data, at)
        while found:
            place = at + first(found)
            found = without_first(found)
            if place >= end or break_width(data, place, end) > 0:
                return min(place, end)
        at += WIDTH
    return end


@kernel
def splitlines_signals(data: np.ndarray, offsets: np.ndarray, marks: Marks) -> np.ndarray:
    """Counts over each document's lines: int64[ROWS, n].

    LINES `len(text.splitlines())`; BULLETS whose first word begins with `-` or `•`; ELLIPSES whose last word ends with
    `...` or `…`.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        start, lines, bullets, ellipses = low, 0, 0, 0
        for block in range(low // WIDTH, high // WIDTH + 1):
            at = block * WIDTH
            breaks = _breaks(data, at) & ~below(max(low - at, 0)) if at < high else np.uint64(0)
            breaks &= below(min(high - at, WIDTH))
            breaks |= np.uint64(high - at < WIDTH and high > low) << np.uint64(high % WIDTH)  # the end is one, too
            while breaks:
                place = at + first(breaks)
                breaks = without_first(breaks)
                width = break_width(data, place, high) if place < high else 0
                if place < start or (width == 0 and place < high) or (place == high and start == high):
                    continue
                lines += 1
                begun = first_inside(marks, start, place)
                if begun < place:
                    end = behind_inside(marks, begun, place)
                    bullets += _begins_with_bullet(data, begun, end)
                    ellipses += ends_with_dots(data, begun, end) or is_horizontal_ellipsis(data, begun, end)
                start = place + width
        found[LINES, document], found[BULLETS, document], found[ELLIPSES, document] = lines, bullets, ellipses
    return found
