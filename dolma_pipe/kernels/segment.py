"""Words and lines of every document, as positions, lengths and hashes.

Words are what Python's `str.split()` yields: maximal runs without white space,
where white space is what `str.isspace` says (the White_Space property plus
U+001C to U+001F). Lines are `text.split("\\n")`: no newline included, an empty
text has one empty line, and a text that ends in a newline has an empty last
one. Valid UTF-8 is assumed (`utf8.validate`), and less than 2 GiB of it.

All return (starts int32[m], ends int32[m], chars int32[m], hashes uint64[m],
offsets int64[n+1]): positions in bytes of `data`, length in code points,
`hashing.hash64` of the bytes; the segments of document i are
`offsets[i]:offsets[i+1]`. That is twenty bytes for each; a kernel that reads
words from first to last takes marks.py instead.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import hash64
from dolma_pipe.kernels.marks import WINDOW, Marks, first_inside, next_words, white_words, words_between
from dolma_pipe.kernels.masks import WIDTH, equal, is_ascii, popcount
from dolma_pipe.kernels.newlines import line_end, most_filled
from dolma_pipe.kernels.utf8 import chars_between

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_NEWLINE = 0x0A


@kernel
def word_arrays(data: np.ndarray, offsets: np.ndarray, marks: Marks) -> Arrays:
    """The words that are marked; see the module for what is returned."""
    word_offsets = np.zeros(len(offsets), np.int64)
    for document in range(len(offsets) - 1):
        count = words_between(marks, offsets[document], offsets[document + 1])
        word_offsets[document + 1] = word_offsets[document] + count
    total = word_offsets[-1]
    starts, ends, chars = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.int32)
    hashes = np.empty(total, np.uint64)
    some_starts, some_ends = np.empty(WINDOW, np.int32), np.empty(WINDOW, np.int32)
    for document in range(len(offsets) - 1):
        at, word = offsets[document], word_offsets[document]
        while at < offsets[document + 1]:
            count, at = next_words(marks, at, offsets[document + 1], some_starts, some_ends)
            for k in range(count):
                start, end = some_starts[k], some_ends[k]
                starts[word], ends[word], chars[word] = start, end, chars_between(data, start, end)
                hashes[word] = hash64(data, start, end)
                word += 1
    return starts, ends, chars, hashes, word_offsets


@kernel
def split_words(data: np.ndarray, offsets: np.ndarray) -> Arrays:
    """The words of every document; see the module for what is returned."""
    return word_arrays(data, offsets, white_words(data, offsets))


@piece
def _count_newlines(data: np.ndarray) -> int:
    count = 0
    for at in range(0, len(data), WIDTH):
        count += popcount(equal(data, at, _NEWLINE))
    return count


@kernel
def split_lines(data: np.ndarray, offsets: np.ndarray) -> Arrays:
    """The lines of every document; see the module for what is returned."""
    most = _count_newlines(data) + len(offsets) - 1
    starts, ends, chars = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    hashes = np.empty(most, np.uint64)
    line_offsets = np.zeros(len(offsets), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        plain = is_ascii(data, at, end)
        while True:
            stop = line_end(data, at, end)
            starts[count], ends[count] = at, stop
            chars[count] = stop - at if plain else chars_between(data, at, stop)
            hashes[count] = hash64(data, at, stop)
            count += 1
            at = stop + 1
            if stop == end:
                break
        line_offsets[document + 1] = count
    return starts[:count], ends[:count], chars[:count], hashes[:count], line_offsets


@kernel
def filled_lines(
    data: np.ndarray, offsets: np.ndarray, marks: Marks
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The lines of every document that hold a word: (starts, ends, chars, places: int32[m], offsets int64[n + 1]).

    `places` are code points of the document before each line.
    """
    most = 0
    for document in range(len(offsets) - 1):
        most += most_filled(data, offsets[document], offsets[document + 1])
    starts, ends = np.empty(most, np.int32), np.empty(most, np.int32)
    chars, places = np.empty(most, np.int32), np.empty(most, np.int32)
    line_offsets = np.zeros(len(offsets), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        at, high, place = offsets[document], offsets[document + 1], 0
        plain = is_ascii(data, at, high)
        while at < high:
            stop = line_end(data, at, high)
            size = stop - at if plain else chars_between(data, at, stop)
            if first_inside(marks, at, stop) < stop:
                starts[count], ends[count], chars[count], places[count] = at, stop, size, place
                count += 1
            at, place = stop + 1, place + size + 1
        line_offsets[document + 1] = count
    return starts[:count], ends[:count], chars[:count], places[:count], line_offsets


@kernel
def matching_lines(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, other: np.ndarray, other_offsets: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where in `other`, which has the same lines, those lie that are filled in `data`, `count` in all: (starts, ends),
    int32[count] each."""
    starts, ends = np.empty(count, np.int32), np.empty(count, np.int32)
    line = 0
    for document in range(len(offsets) - 1):
        at, high = offsets[document], offsets[document + 1]
        there, beyond = other_offsets[document], other_offsets[document + 1]
        while at < high:
            stop, end = line_end(data, at, high), line_end(other, there, beyond)
            if first_inside(marks, at, stop) < stop:
                starts[line], ends[line] = there, end
                line += 1
            at, there = stop + 1, end + 1
    return starts, ends
