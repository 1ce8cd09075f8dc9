"""Repeated lines and paragraphs inside a document (Rae et al. 2021, A1.1, table A1), compared by 64-bit hash.

A line counts for the paper's signals when it holds a word; a paragraph is a maximal run of such lines. Equal means
equal bytes. The odds that a document of k distinct lines holds two of one hash are k^2 / 2^65.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.firsts import name_keys, table_size
from dolma_pipe.kernels.hashing import combine64, hash64
from dolma_pipe.kernels.marks import Marks, behind_inside, first_inside
from dolma_pipe.kernels.masks import is_ascii
from dolma_pipe.kernels.newlines import count_lines, line_end, most_filled, outer_empty_lines
from dolma_pipe.kernels.utf8 import chars_between

(
    LINES, REPEATED_LINES, REPEATED_LINE_CHARACTERS,
    PARAGRAPHS, REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS,
    DOLMA_LINES, DOLMA_DUPLICATES, DOLMA_DUPLICATE_CHARACTERS, DOLMA_V1_DUPLICATES,
    REPEATED_PIECES, REPEATED_PIECE_CHARACTERS, BLOCKS, REPEATED_BLOCKS, REPEATED_BLOCK_CHARACTERS, ROWS,
) = range(16)  # fmt: skip
"""Rows of what `duplicate_signals` returns."""


class Pieces(NamedTuple):
    """Lines or paragraphs of one document, and the copies among them."""

    hashes: np.ndarray  # uint64[m]
    chars: np.ndarray  # int32[m]
    filled: np.ndarray  # bool[m]: holds a word
    firsts: np.ndarray  # int32[m]: where an equal piece occurs first
    copies: np.ndarray  # int32[m]: how many equal ones there are, at the first


@piece
def _put(pieces: Pieces, at: int, value: np.uint64, chars: int, filled: bool) -> int:
    pieces.hashes[at], pieces.chars[at], pieces.filled[at] = value, chars, filled
    return at + 1


@piece
def _gather(
    lines: Pieces, paragraphs: Pieces, data: np.ndarray, low: int, high: int, marks: Marks, plain: bool
) -> tuple[int, int]:
    """Writes a document's lines that are not empty, and its paragraphs; returns how many of each."""
    line_count, paragraph_count, length, state, at = 0, 0, 0, np.uint64(0), low
    while at < high:
        start, end = at, line_end(data, at, high)
        at = end + 1
        filled = first_inside(marks, start, end) < end
        if start < end:
            value, size = hash64(data, start, end), _size(data, start, end, plain)
            line_count = _put(lines, line_count, value, size, filled)
            if filled:
                state, length = combine64(state, value), length + size + (length > 0)
        if length > 0 and not filled:
            paragraph_count = _put(paragraphs, paragraph_count, state, length, True)
            length, state = 0, np.uint64(0)
    if length > 0:
        paragraph_count = _put(paragraphs, paragraph_count, state, length, True)
    return line_count, paragraph_count


@piece
def _size(data: np.ndarray, start: int, end: int, plain: bool) -> int:
    """Code points; `plain` text has one in each byte."""
    return end - start if plain else chars_between(data, start, end)


@piece
def _add_repeats(pieces: Pieces, count: int, found: np.ndarray, row: int, document: int) -> None:
    """Adds to three rows from `row` on: filled pieces, those that occurred before, characters of the latter."""
    for i in range(count):
        if pieces.filled[i]:
            found[row, document] += 1
            if pieces.firsts[i] != i:
                found[row + 1, document] += 1
                found[row + 2, document] += pieces.chars[i]


@piece
def _add_dolma_lines(lines: Pieces, count: int, outer: int, empty: int, found: np.ndarray, document: int) -> None:
    """Adds to the rows DOLMA_... and REPEATED_PIECES; besides the listed lines there are `empty` ones, of which
    gopher_v2 sees `outer`."""
    duplicates = 0
    found[REPEATED_PIECES, document] = outer > 1
    for i in range(count):
        if lines.firsts[i] != i:
            found[REPEATED_PIECES, document] += 1
            found[REPEATED_PIECE_CHARACTERS, document] += lines.chars[i]
        if lines.copies[lines.firsts[i]] > 1:
            duplicates += 1
            found[DOLMA_DUPLICATE_CHARACTERS, document] += lines.chars[i]
    found[DOLMA_LINES, document] = count + outer
    found[DOLMA_DUPLICATES, document] = duplicates + (outer if outer > 1 else 0)
    found[DOLMA_V1_DUPLICATES, document] = duplicates + (empty if empty > 1 else 0)


@piece
def _gather_blocks(blocks: Pieces, data: np.ndarray, low: int, high: int, plain: bool) -> int:
    """Writes a document's blocks, runs of lines that are not empty between its first word at `low` and the end of its
    last one at `high`; returns how many."""
    count, length, state, at = 0, 0, np.uint64(0), low
    while at < high:
        start, end = at, line_end(data, at, high)
        at = end + 1
        if start < end:
            state = combine64(state, hash64(data, start, end))
            length += _size(data, start, end, plain) + (length > 0)
        elif length > 0:
            count = _put(blocks, count, state, length, True)
            length, state = 0, np.uint64(0)
    if length > 0 or count == 0:
        count = _put(blocks, count, state, length, True)
    return count


@kernel
def _scratch(size: int) -> Pieces:
    return Pieces(
        np.empty(size, np.uint64),
        np.empty(size, np.int32),
        np.empty(size, np.bool_),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
    )


@kernel
def duplicate_signals(data: np.ndarray, offsets: np.ndarray, marks: Marks, most_slots: int) -> np.ndarray:
    """Counts over the lines of each document: int64[ROWS, n].

    LINES that hold a word, REPEATED_LINES that occurred before and their characters; the same for paragraphs.
    DOLMA_...: pieces of `re.split(r"\\n+", text)`, those that occur more than once (all copies), their characters;
    DOLMA_V1_DUPLICATES the same for `text.split("\\n")`. Of the former pieces REPEATED_PIECES occurred before. BLOCKS
    are pieces of `re.split(r"\\n{2,}", text.strip())`.
    `most_slots` bounds the hash table.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, most_filled(data, offsets[document], offsets[document + 1]))
    lines, paragraphs = _scratch(longest), _scratch(longest)
    keys = np.empty(table_size(longest, most_slots), np.uint64)
    slots = np.empty(len(keys), np.int32)
    totals = count_lines(data, offsets)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        plain = is_ascii(data, low, high)
        line_count, paragraph_count = _gather(lines, paragraphs, data, low, high, marks, plain)
        name_keys(lines.hashes, 0, line_count, lines.firsts, lines.copies, keys, slots)
        _add_repeats(lines, line_count, found, LINES, document)
        outer, empty = outer_empty_lines(data, low, high), totals[document] - line_count
        _add_dolma_lines(lines, line_count, outer, empty, found, document)
        name_keys(paragraphs.hashes, 0, paragraph_count, paragraphs.firsts, paragraphs.copies, keys, slots)
        _add_repeats(paragraphs, paragraph_count, found, PARAGRAPHS, document)
        low = first_inside(marks, low, high)
        high = behind_inside(marks, low, high)
        block_count = _gather_blocks(paragraphs, data, low, high, plain)
        name_keys(paragraphs.hashes, 0, block_count, paragraphs.firsts, paragraphs.copies, keys, slots)
        _add_repeats(paragraphs, block_count, found, BLOCKS, document)
    return found
