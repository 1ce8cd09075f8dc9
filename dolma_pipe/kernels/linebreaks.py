"""Lines as `str.splitlines` has them: all of Unicode's line breaks, and none after the last one.

Every line break is white space, so lines are found in the gaps between words.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.lines import ends_with_dots, is_horizontal_ellipsis

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
def count_breaks(data: np.ndarray, start: int, end: int) -> tuple[int, bool]:
    """(line breaks in the white space `data[start:end]`, whether one lies at its end)."""
    if end - start == 1 and data[start] == 0x20:
        return 0, False
    count, at, last = 0, start, start - 1
    while at < end:
        width = break_width(data, at, end)
        if width > 0:
            count += 1
            at += width
            last = at
        else:
            at += 1
    return count, last == end


@piece
def _begins_with_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """True for `-` and U+2022."""
    if data[start] == 0x2D:
        return True
    return end - start >= 3 and data[start] == 0xE2 and data[start + 1] == 0x80 and data[start + 2] == 0xA2


@kernel
def splitlines_signals(
    data: np.ndarray, document_offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Counts over each document's lines: int64[ROWS, n].

    LINES `len(text.splitlines())`; BULLETS whose first word begins with `-` or `•`; ELLIPSES whose last word ends with
    `...` or `…`.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        at, end = document_offsets[document], document_offsets[document + 1]
        first, last = offsets[document], offsets[document + 1]
        lines, bullets, ellipses = 0, 0, 0
        for word in range(first, last):
            breaks, _ = count_breaks(data, at, starts[word])
            if breaks > 0 or word == first:
                bullets += _begins_with_bullet(data, starts[word], ends[word])
                if word > first:
                    start, stop = starts[word - 1], ends[word - 1]
                    ellipses += ends_with_dots(data, start, stop) or is_horizontal_ellipsis(data, start, stop)
            lines += breaks
            at = ends[word]
        breaks, closed = count_breaks(data, at, end)
        if first < last:
            start, stop = starts[last - 1], ends[last - 1]
            ellipses += ends_with_dots(data, start, stop) or is_horizontal_ellipsis(data, start, stop)
        found[LINES, document] = lines + breaks + (not closed and end > document_offsets[document])
        found[BULLETS, document], found[ELLIPSES, document] = bullets, ellipses
    return found
