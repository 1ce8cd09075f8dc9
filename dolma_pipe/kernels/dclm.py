"""What DCLM's filters ask about words, symbols, lines and paragraphs; copies are compared by 64-bit hash."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.alphabetic import is_member
from dolma_pipe.kernels.firsts import name_keys, table_size
from dolma_pipe.kernels.hashing import hash64
from dolma_pipe.kernels.lines import ends_with_dots, is_horizontal_ellipsis
from dolma_pipe.kernels.marks import Marks, behind_inside, first_inside
from dolma_pipe.kernels.masks import is_ascii
from dolma_pipe.kernels.newlines import line_end, most_filled
from dolma_pipe.kernels.utf8 import chars_between, code_point_at

(
    WORDS, SYMBOLS, BULLETS, ELLIPSES,
    LINES, COPIED_LINES, LINE_CHARACTERS, COPIED_LINE_CHARACTERS,
    PARAGRAPHS, COPIED_PARAGRAPHS, PARAGRAPH_CHARACTERS, COPIED_PARAGRAPH_CHARACTERS, ROWS,
) = range(13)  # fmt: skip
"""Rows of what `page_signals` returns."""


class Segments(NamedTuple):
    """Lines or paragraphs of one document without outer white space, and the copies among them."""

    hashes: np.ndarray  # uint64[m]
    chars: np.ndarray  # int32[m]
    firsts: np.ndarray  # int32[m]: where an equal one occurs first
    copies: np.ndarray  # int32[m]: how many equal ones there are, at the first


@kernel
def _scratch(size: int) -> Segments:
    return Segments(
        np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    )


@piece
def _is_space(byte: int) -> bool:
    """White space as fastText splits at it."""
    return byte == 0x20 or 0x09 <= byte <= 0x0D or byte == 0


@piece
def _words(data: np.ndarray, start: int, end: int, members: np.ndarray) -> int:
    """Pieces between white space that begin with a member."""
    count, outside = 0, True
    for at in range(start, end):
        space = _is_space(data[at])
        if outside and not space:
            code, _ = code_point_at(data, at)
            count += is_member(code, members)
        outside = space
    return count


@piece
def _ends_with_spaced_dots(data: np.ndarray, start: int, end: int) -> bool:
    return (
        end - start >= 5
        and data[end - 5] == 0x2E and data[end - 4] == 0x20 and data[end - 3] == 0x2E
        and data[end - 2] == 0x20 and data[end - 1] == 0x2E
    )  # fmt: skip


@piece
def _symbols(data: np.ndarray, start: int, end: int) -> int:
    """`#`, `...`, `. . .` and `…`, each counted by itself and without overlaps."""
    count, dots, spaced = 0, start, start
    for at in range(start, end):
        byte = data[at]
        if byte == 0x23:
            count += 1
        elif byte == 0x2E:
            if at + 3 <= end and at >= dots and ends_with_dots(data, at, at + 3):
                count, dots = count + 1, at + 3
            if at + 5 <= end and at >= spaced and _ends_with_spaced_dots(data, at, at + 5):
                count, spaced = count + 1, at + 5
        elif byte == 0xE2:
            count += at + 3 <= end and is_horizontal_ellipsis(data, at, at + 3)
    return count


@piece
def _is_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """True when `data[start:end]` begins with `-`, `*`, U+2022 or U+25CF."""
    if data[start] == 0x2D or data[start] == 0x2A:
        return True
    if end - start < 3 or data[start] != 0xE2:
        return False
    second, third = data[start + 1], data[start + 2]
    return (second == 0x80 and third == 0xA2) or (second == 0x97 and third == 0x8F)


@piece
def _put(segments: Segments, count: int, data: np.ndarray, start: int, end: int) -> int:
    segments.hashes[count], segments.chars[count] = hash64(data, start, end), chars_between(data, start, end)
    return count + 1


@piece
def _add_copies(segments: Segments, count: int, found: np.ndarray, row: int, document: int) -> None:
    """Four rows from `row` on: segments, those that occur more than once, characters of either."""
    found[row, document] = count
    for i in range(count):
        copied = segments.copies[segments.firsts[i]] > 1
        found[row + 1, document] += copied
        found[row + 2, document] += segments.chars[i]
        found[row + 3, document] += segments.chars[i] if copied else 0


@piece
def _holds_empty_line(data: np.ndarray, start: int, end: int) -> bool:
    """Whether two newlines stand together in `data[start:end]`."""
    found = False
    for at in range(start, end - 1):
        found |= data[at] == 0x0A and data[at + 1] == 0x0A
    return found


@kernel
def page_signals(
    data: np.ndarray, offsets: np.ndarray, line_starts: np.ndarray, line_ends: np.ndarray, line_offsets: np.ndarray,
    marks: Marks, members: np.ndarray, most_slots: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Counts over each document, int64[ROWS, n], and the WORDS of each line, int32[m]; lines are those with a word.

    WORDS between white space (ASCII's) that begin with a member of the bitmap; SYMBOLS `#`, `...`, `. . .`, `…`. LINES
    hold a word; BULLETS and ELLIPSES count lines that begin and end so. PARAGRAPHS are what two newlines part. Both
    without outer white space; COPIED are those that occur more than once, all of them, CHARACTERS code points.
    """
    found, words = np.zeros((ROWS, len(offsets) - 1), np.int64), np.zeros(len(line_starts), np.int32)
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, line_offsets[document + 1] - line_offsets[document])
    segments = _scratch(longest)
    keys = np.empty(table_size(longest, most_slots), np.uint64)
    slots = np.empty(len(keys), np.int32)
    for document in range(len(offsets) - 1):
        found[SYMBOLS, document] = _symbols(data, offsets[document], offsets[document + 1])
        count, first, last = 0, line_offsets[document], line_offsets[document + 1]
        for line in range(first, last):
            start = first_inside(marks, line_starts[line], line_ends[line])
            stop = behind_inside(marks, start, line_ends[line])
            words[line] = _words(data, line_starts[line], line_ends[line], members)
            found[WORDS, document] += words[line]
            count = _put(segments, count, data, start, stop)
            found[BULLETS, document] += _is_bullet(data, start, stop)
            found[ELLIPSES, document] += (
                ends_with_dots(data, start, stop)
                or is_horizontal_ellipsis(data, start, stop)
                or _ends_with_spaced_dots(data, start, stop)
            )
        name_keys(segments.hashes, 0, count, segments.firsts, segments.copies, keys, slots)
        _add_copies(segments, count, found, LINES, document)
        count, start = 0, 0
        for line in range(first, last):
            if line == first or _holds_empty_line(data, line_ends[line - 1], line_starts[line]):
                start = first_inside(marks, line_starts[line], line_ends[line])
            if line + 1 == last or _holds_empty_line(data, line_ends[line], line_starts[line + 1]):
                count = _put(segments, count, data, start, behind_inside(marks, start, line_ends[line]))
        name_keys(segments.hashes, 0, count, segments.firsts, segments.copies, keys, slots)
        _add_copies(segments, count, found, PARAGRAPHS, document)
    return found, words


@kernel
def left_out(
    data: np.ndarray, offsets: np.ndarray, line_starts: np.ndarray, line_offsets: np.ndarray, marks: Marks,
    stays: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Spans in code points of what goes with the lines that do not stay, and of the white space around the rest.

    (starts, ends, int64[n + 1] offsets). Lines are those with a word; of the others the empty ones stay. A line takes
    its newline along; neighbours make one span.
    """
    most = 0
    for document in range(len(offsets) - 1):
        most += most_filled(data, offsets[document], offsets[document + 1]) + 2
    starts, ends, span_offsets = np.empty(most, np.int32), np.empty(most, np.int32), np.zeros(len(offsets), np.int64)
    count, line = 0, 0
    for document in range(len(offsets) - 1):
        place, behind, begun = 0, 0, False  # where this line lies, and where the last one that stays ends
        held, at, high = count, offsets[document], offsets[document + 1]
        plain = is_ascii(data, at, high)
        while at <= high:
            stop = line_end(data, at, high)
            after = place + (stop - at if plain else chars_between(data, at, stop)) + 1
            filled = line < line_offsets[document + 1] and line_starts[line] == at
            stay = stays[line] if filled else at == stop
            line += int(filled)
            if stay and filled:
                start = first_inside(marks, at, stop)
                low = place + chars_between(data, at, start)
                if not begun and low > 0:
                    starts[count], ends[count] = 0, low
                    count += 1
                begun, held = True, count
                behind = low + chars_between(data, start, behind_inside(marks, start, stop))
            elif begun and not stay:
                if count > held and ends[count - 1] == place:
                    ends[count - 1] = after
                else:
                    starts[count], ends[count] = place, after
                    count += 1
            place, at = after, stop + 1
        count = held  # what lies behind the last line that stays goes as one
        if place - 1 > behind:
            starts[count], ends[count] = behind, place - 1
            count += 1
        span_offsets[document + 1] = count
    return starts[:count], ends[:count], span_offsets


@kernel
def freed_words(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, marks: Marks, members: np.ndarray
) -> np.ndarray:
    """How many WORDS more each line has without the white space that it begins with: int64[m]. What is white space to
    Python may be none to fastText, and so the beginning of a piece that begins with no letter."""
    found = np.empty(len(starts), np.int64)
    for line in range(len(starts)):
        start = first_inside(marks, starts[line], ends[line])
        stop = start
        while stop < ends[line] and not _is_space(data[stop]):
            stop += 1
        found[line] = _words(data, start, stop, members) - _words(data, starts[line], stop, members)
    return found
