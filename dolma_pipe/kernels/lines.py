"""What Gopher's quality rules ask about lines: bullets and ellipses."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.marks import Marks, behind_inside, first_inside
from dolma_pipe.kernels.newlines import line_end, outer_empty_lines

FILLED, BULLETS, ELLIPSES, DOLMA_BULLETS, DOLMA_ELLIPSES, DOLMA_LINES, ROWS = range(7)
"""Rows of what `line_signals` returns."""


@piece
def is_horizontal_ellipsis(data: np.ndarray, start: int, end: int) -> bool:
    """True when `data[start:end]` ends with U+2026."""
    return end - start >= 3 and data[end - 3] == 0xE2 and data[end - 2] == 0x80 and data[end - 1] == 0xA6


@piece
def ends_with_dots(data: np.ndarray, start: int, end: int) -> bool:
    """True when `data[start:end]` ends with three full stops."""
    return end - start >= 3 and data[end - 3] == 0x2E and data[end - 2] == 0x2E and data[end - 1] == 0x2E


@piece
def _is_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """True when `data[start:end]` begins with `-`, `*` or U+2022."""
    if data[start] == 0x2D or data[start] == 0x2A:
        return True
    return end - start >= 3 and data[start] == 0xE2 and data[start + 1] == 0x80 and data[start + 2] == 0xA2


@kernel
def line_signals(data: np.ndarray, offsets: np.ndarray, marks: Marks) -> np.ndarray:
    """Counts over each document's lines, pieces of `text.split("\\n")`: int64[ROWS, n].

    FILLED lines with a word; of these, BULLETS whose first word begins with `-`, `*` or `•`, and ELLIPSES whose last
    one ends with `...` or `…`. DOLMA_BULLETS and DOLMA_ELLIPSES: lines that begin with `*` or `-`, or end with `…`,
    white space not stripped. DOLMA_LINES: pieces of `re.split(r"\\n+", text)`.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        filled, bullets, ellipses, dolma_bullets, dolma_ellipses, dolma_lines = 0, 0, 0, 0, 0, 0
        at = low
        while at < high:
            start, end = at, line_end(data, at, high)
            at = end + 1
            if start == end:
                continue
            dolma_bullets += data[start] == 0x2A or data[start] == 0x2D
            dolma_ellipses += is_horizontal_ellipsis(data, start, end)
            dolma_lines += 1
            start = first_inside(marks, start, end)
            if start == end:
                continue
            end = behind_inside(marks, start, end)
            filled += 1
            bullets += _is_bullet(data, start, end)
            ellipses += ends_with_dots(data, start, end) or is_horizontal_ellipsis(data, start, end)
        found[FILLED, document], found[BULLETS, document], found[ELLIPSES, document] = filled, bullets, ellipses
        found[DOLMA_BULLETS, document], found[DOLMA_ELLIPSES, document] = dolma_bullets, dolma_ellipses
        found[DOLMA_LINES, document] = dolma_lines + outer_empty_lines(data, low, high)
    return found
