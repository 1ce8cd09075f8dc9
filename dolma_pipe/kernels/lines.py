"""What Gopher's quality rules ask about lines: bullets and ellipses."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece

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
def line_signals(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    offsets: np.ndarray,
    word_starts: np.ndarray,
    word_ends: np.ndarray,
    word_offsets: np.ndarray,
) -> np.ndarray:
    """Counts over each document's lines: int64[ROWS, n].

    FILLED lines with a word; of these, BULLETS whose first word begins with `-`, `*` or `•`, and ELLIPSES whose last
    one ends with `...` or `…`. DOLMA_BULLETS and DOLMA_ELLIPSES: lines that begin with `*` or `-`, or end with `…`,
    white space not stripped. DOLMA_LINES: pieces of `re.split(r"\\n+", text)`.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        word: int = word_offsets[document]
        last_word = word_offsets[document + 1]
        first, last = offsets[document], offsets[document + 1]
        for line in range(first, last):
            start, end = starts[line], ends[line]
            if start == end:
                continue
            found[DOLMA_BULLETS, document] += data[start] == 0x2A or data[start] == 0x2D
            found[DOLMA_ELLIPSES, document] += is_horizontal_ellipsis(data, start, end)
            found[DOLMA_LINES, document] += 1
            first_word = word
            while word < last_word and word_starts[word] < end:
                word += 1
            if word == first_word:
                continue
            start, end = word_starts[first_word], word_ends[word - 1]
            found[FILLED, document] += 1
            found[BULLETS, document] += _is_bullet(data, start, end)
            found[ELLIPSES, document] += ends_with_dots(data, start, end) or is_horizontal_ellipsis(data, start, end)
        found[DOLMA_LINES, document] += outer_empty_lines(starts, ends, first, last)
    return found


@piece
def outer_empty_lines(starts: np.ndarray, ends: np.ndarray, first: int, last: int) -> int:
    """How many of a document's first and last line are empty, one line counting once: the empty strings that
    `re.split(r"\\n+", text)` leaves."""
    return (starts[first] == ends[first]) + (last - first > 1 and starts[last - 1] == ends[last - 1])
