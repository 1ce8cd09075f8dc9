"""128-bit keys of documents and of paragraphs: what exact deduplication compares instead of text.

A key is `hashing.hash128` of the bytes. Paragraphs are the pieces of
`text.split(separator)`, and offsets count code points of the document.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel
from dolma_pipe.kernels.hashing import hash128, load64
from dolma_pipe.kernels.segment import space_width
from dolma_pipe.kernels.utf8 import chars_between

_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ZERO = np.uint64(0)


@kernel
def _byte_at(data: np.ndarray, start: int, end: int, byte: int) -> int:
    """Position of the first `byte` in `data[start:end]`, or `end`."""
    wanted = np.uint64(byte) * _ONES
    at = start
    while at + 8 <= end:
        word = load64(data, at) ^ wanted  # the byte becomes a zero
        if (word - _ONES) & ~word & _HIGH_BITS != _ZERO:
            break
        at += 8
    while at < end and data[at] != byte:
        at += 1
    return at


@kernel
def _separator_at(data: np.ndarray, start: int, end: int, separator: np.ndarray) -> int:
    """Position of the first `separator` in `data[start:end]`, or `end`."""
    width = len(separator)
    at = _byte_at(data, start, end, separator[0])
    while at < end:
        if at + width <= end:
            same = 1
            while same < width and data[at + same] == separator[same]:
                same += 1
            if same == width:
                return at
        at = _byte_at(data, at + 1, end, separator[0])
    return end


@kernel
def _is_blank(data: np.ndarray, start: int, end: int) -> bool:
    """Is there nothing but white space (`str.isspace`) in `data[start:end]`?"""
    at = start
    while at < end:
        width = space_width(data, at)
        if width == 0:
            return False
        at += width
    return True


@kernel
def _pieces_at_most(data: np.ndarray, byte: int, documents: int) -> int:
    count = documents
    for i in range(len(data)):
        count += data[i] == byte
    return count


@kernel
def paragraph_keys(
    data: np.ndarray, offsets: np.ndarray, competes: np.ndarray, separator: np.ndarray, min_chars: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys and places of the paragraphs that can be duplicates.

    Those are of documents where `competes` is true, at least `min_chars` code
    points long (without the separator) and not blank. Returns per paragraph
    (first uint64[m], second uint64[m], spans uint32[m, 2]: start and end in code
    points, the separator that follows included), and per document (counts
    uint32[n]: paragraphs, chars int64[n]: code points). No document may have
    more than 2^32 code points.
    """
    documents = len(offsets) - 1
    most = _pieces_at_most(data, separator[0], documents)
    first, second = np.empty(most, np.uint64), np.empty(most, np.uint64)
    spans = np.empty((most, 2), np.uint32)
    counts, chars = np.zeros(documents, np.uint32), np.zeros(documents, np.int64)
    separator_chars = chars_between(separator, 0, len(separator))
    count = 0
    for document in range(documents):
        at, end = offsets[document], offsets[document + 1]
        if not competes[document]:
            chars[document] = chars_between(data, at, end)
            continue
        char, before = 0, count
        while at < end:
            stop = _separator_at(data, at, end, separator)
            length = chars_between(data, at, stop)
            after = char + length + (separator_chars if stop < end else 0)
            if length >= min_chars and not _is_blank(data, at, stop):
                first[count], second[count] = hash128(data, at, stop)
                spans[count, 0], spans[count, 1] = char, after
                count += 1
            char = after
            at = stop + len(separator)
        counts[document] = count - before
        chars[document] = char
    return first[:count], second[:count], spans[:count], counts, chars


@kernel
def document_keys(
    data: np.ndarray, offsets: np.ndarray, competes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys of the values `data[offsets[i]:offsets[i + 1]]` where `competes` is true and the value is not empty.

    Returns (first uint64[m], second uint64[m], counts uint32[n]: 1 where a document has a key).
    """
    documents = len(offsets) - 1
    first, second = np.empty(documents, np.uint64), np.empty(documents, np.uint64)
    counts = np.zeros(documents, np.uint32)
    count = 0
    for document in range(documents):
        if competes[document] and offsets[document] < offsets[document + 1]:
            first[count], second[count] = hash128(data, offsets[document], offsets[document + 1])
            counts[document] = 1
            count += 1
    return first[:count], second[:count], counts
