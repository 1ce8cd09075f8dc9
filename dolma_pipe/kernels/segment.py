"""Words and lines of every document, as positions, lengths and hashes.

Words are what Python's `str.split()` yields: maximal runs without white space,
where white space is what `str.isspace` says (the White_Space property plus
U+001C to U+001F). Lines are `text.split("\\n")`: no newline included, an empty
text has one empty line, and a text that ends in a newline has an empty last
one. Valid UTF-8 is assumed (`utf8.validate`), and less than 2 GiB of it.

Both return (starts int32[m], ends int32[m], chars int32[m], hashes uint64[m],
offsets int64[n+1]): positions in bytes of `data`, length in code points,
`hashing.hash64` of the bytes; the segments of document i are
`offsets[i]:offsets[i+1]`.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import hash64, load64
from dolma_pipe.kernels.utf8 import chars_between

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_ASCII_SPACES = np.uint64(sum(1 << code for code in (*range(0x09, 0x0E), *range(0x1C, 0x21))))
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_TO_HIGH_BIT = np.uint64(0x5F5F5F5F5F5F5F5F)  # 0x21 plus this is 0x80
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@piece
def _wide_space(data: np.ndarray, at: int) -> int:
    """Bytes of the non-ASCII white space at `at`, or 0."""
    first = data[at]
    if first == 0xC2:  # U+0085, U+00A0
        return 2 if data[at + 1] == 0x85 or data[at + 1] == 0xA0 else 0
    if first < 0xE1 or first > 0xE3:
        return 0
    second, third = data[at + 1], data[at + 2]
    if first == 0xE1:  # U+1680
        return 3 if second == 0x9A and third == 0x80 else 0
    if first == 0xE3:  # U+3000
        return 3 if second == 0x80 and third == 0x80 else 0
    if second == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0  # U+205F


@piece
def space_width(data: np.ndarray, at: int) -> int:
    """Bytes of the white-space character that begins at `at`, or 0 if another one does."""
    first = data[at]
    if first <= 0x20:
        return int(np.int64((_ASCII_SPACES >> np.uint64(first)) & _ONE))
    return _wide_space(data, at) if first >= 0xC2 else 0


@piece
def _plain_bytes(word: np.uint64) -> int:
    """How many of a word's first bytes are printable ASCII (0x21 to 0x7F): 0 to 8."""
    stops = (~((word & ~_HIGH_BITS) + _TO_HIGH_BIT) | word) & _HIGH_BITS
    before = (stops & (~stops + _ONE)) - _ONE  # all bits below the first stop
    return int(np.int64((((before & _HIGH_BITS) >> np.uint64(7)) * _ONES) >> np.uint64(56)))


@piece
def _wide_run(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """(position after the non-ASCII bytes at `start` or before their first white space, continuation bytes)."""
    at, continued = start, 0
    while at < end and data[at] >= 0x80:
        if data[at] < 0xC0:
            continued += 1
        elif data[at] < 0xE4 and _wide_space(data, at) > 0:
            break
        at += 1
    return at, continued


@piece
def _word_end(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """(position after the word at `start`, its continuation bytes)."""
    at, continued = start, 0
    while at < end:
        if at + 8 <= end:
            plain = _plain_bytes(load64(data, at))
            at += plain
            if plain == 8:
                continue
        if data[at] >= 0x80:
            stop, more = _wide_run(data, at, end)
            if stop == at:
                break
            at, continued = stop, continued + more
        elif space_width(data, at) > 0:
            break
        else:
            at += 1
    return at, continued


@kernel
def split_words(data: np.ndarray, offsets: np.ndarray) -> Arrays:
    """The words of every document; see the module for what is returned."""
    most = (len(data) + len(offsets)) // 2
    starts, ends, chars = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    hashes = np.empty(most, np.uint64)
    word_offsets = np.zeros(len(offsets), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            width = space_width(data, at)
            if width > 0:
                at += width
                continue
            start = at
            at, continued = _word_end(data, start, end)
            starts[count], ends[count], chars[count] = start, at, at - start - continued
            hashes[count] = hash64(data, start, at)
            count += 1
        word_offsets[document + 1] = count
    return starts[:count], ends[:count], chars[:count], hashes[:count], word_offsets


@piece
def _line_end(data: np.ndarray, start: int, end: int) -> int:
    """Position of the first newline in `data[start:end]`, or `end`."""
    at = start
    while at + 8 <= end:
        word = load64(data, at) ^ _NEWLINES  # a newline becomes a zero byte
        if (word - _ONES) & ~word & _HIGH_BITS != _ZERO:
            break
        at += 8
    while at < end and data[at] != 0x0A:
        at += 1
    return at


@piece
def _count_newlines(data: np.ndarray) -> int:
    count = 0
    for byte in data:
        count += byte == 0x0A
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
        while True:
            stop = _line_end(data, at, end)
            starts[count], ends[count], chars[count] = at, stop, chars_between(data, at, stop)
            hashes[count] = hash64(data, at, stop)
            count += 1
            at = stop + 1
            if stop == end:
                break
        line_offsets[document + 1] = count
    return starts[:count], ends[:count], chars[:count], hashes[:count], line_offsets
