"""UTF-8: is it valid, how many code points, and which byte is which code point.

A code point is counted by its first byte: every byte that is not a
continuation byte (binary 10xxxxxx). Eight bytes are looked at together.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import load64, load_tail
from dolma_pipe.kernels.masks import WIDTH, below, first, most

_HIGH_BITS = np.uint64(0x8080808080808080)
_ONES = np.uint64(0x0101010101010101)


@piece
def continuations(word: np.uint64) -> int:
    """How many of a word's eight bytes are continuation bytes."""
    flags = (word & ~(word << np.uint64(1)) & _HIGH_BITS) >> np.uint64(7)
    return int(np.int64((flags * _ONES) >> np.uint64(56)))


@piece
def chars_between(data: np.ndarray, start: int, end: int) -> int:
    """Code points that begin in `data[start:end]`."""
    count = end - start
    at = start
    while at + 8 <= end:
        count -= continuations(load64(data, at))
        at += 8
    if at < end:
        count -= continuations(load_tail(data, at, end - at))
    return count


@kernel
def count_chars(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Code points of each document: int64[n]."""
    counts = np.empty(len(offsets) - 1, np.int64)
    for document in range(len(counts)):
        counts[document] = chars_between(data, offsets[document], offsets[document + 1])
    return counts


@piece
def _sequence_length(data: np.ndarray, at: int, end: int) -> int:
    """Bytes of the well-formed code point at `at` (Unicode table 3-7), or 0."""
    first = data[at]
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + length > end:
        return 0
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if data[at + 1] < low or data[at + 1] > high:
        return 0
    for i in range(at + 2, at + length):
        if (data[i] & 0xC0) != 0x80:
            return 0
    return length


@piece
def first_invalid_byte(data: np.ndarray, start: int, end: int) -> int:
    """Position of the first byte that begins no well-formed code point of `data[start:end]`, or -1."""
    at = start
    while at < end:
        others = ~most(data, at, 0x7F) & below(min(end - at, WIDTH))
        if not others:
            at += WIDTH
            continue
        at += first(others)
        while at < end and data[at] >= 0x80:
            length = _sequence_length(data, at, end)
            if length == 0:
                return at
            at += length
    return -1


@kernel
def validate(data: np.ndarray, offsets: np.ndarray) -> int:
    """Index of the first document that is not well-formed UTF-8 by itself, or -1."""
    for document in range(len(offsets) - 1):
        if first_invalid_byte(data, offsets[document], offsets[document + 1]) >= 0:
            return document
    return -1


@kernel
def bytes_to_chars(data: np.ndarray, offsets: np.ndarray, documents: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Code points before each byte position: int64[n].

    `positions[i]` is a position in `data`, within document `documents[i]` or at its
    end; the result counts from that document's start. Any order is correct; one
    that ascends by (document, position) reads each byte once.
    """
    chars = np.empty(len(positions), np.int64)
    document: int = -1
    at, count = 0, 0
    for i in range(len(positions)):
        if documents[i] != document or positions[i] < at:
            document = documents[i]
            at, count = offsets[document], 0
        count += chars_between(data, at, positions[i])
        at = positions[i]
        chars[i] = count
    return chars


@piece
def _skip_chars(data: np.ndarray, start: int, end: int, chars: int) -> int:
    """Position in `data[start:end]` after `chars` more code points, or -1 if there are fewer."""
    at, left = start, chars
    while left >= 8 and at + 8 <= end:
        left -= 8 - continuations(load64(data, at))
        at += 8
    while left > 0 and at < end:
        left -= (data[at] & 0xC0) != 0x80
        at += 1
    while at < end and (data[at] & 0xC0) == 0x80:
        at += 1
    return at if left == 0 else -1


@kernel
def chars_to_bytes(data: np.ndarray, offsets: np.ndarray, documents: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Position in `data` of each code point: int64[n], the inverse of `bytes_to_chars`.

    `positions[i]` counts code points from the start of document `documents[i]`;
    its length is allowed and means the end. What lies outside gives -1. Order
    as in `bytes_to_chars`.
    """
    found = np.empty(len(positions), np.int64)
    document: int = -1
    at, count = 0, 0
    for i in range(len(positions)):
        if documents[i] != document or positions[i] < count:
            document = documents[i]
            at, count = offsets[document], 0
        found[i] = _skip_chars(data, at, offsets[document + 1], positions[i] - count) if positions[i] >= 0 else -1
        if found[i] >= 0:
            at, count = found[i], positions[i]
    return found


@piece
def code_point_at(data: np.ndarray, at: int) -> tuple[int, int]:
    """(code point, bytes) of the well-formed sequence at `at`."""
    first = int(np.int64(data[at]))
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[at + 1] & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (data[at + 1] & 0x3F) << 6 | (data[at + 2] & 0x3F), 3
    high = (first & 0x07) << 18 | (data[at + 1] & 0x3F) << 12
    return high | (data[at + 2] & 0x3F) << 6 | (data[at + 3] & 0x3F), 4
