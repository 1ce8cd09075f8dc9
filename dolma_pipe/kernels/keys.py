"""What exact deduplication compares: paragraphs, and 128-bit keys of values instead of the values.

A key is `hashing.hash128` of the bytes. Paragraphs are the pieces of
`text.split(separator)`, and spans count code points of the document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import hash128
from dolma_pipe.kernels.masks import WIDTH, below, continuing, equal, first, popcount, visible_ascii, without_first
from dolma_pipe.kernels.utf8 import chars_between
from dolma_pipe.kernels.whitespace import space_width


class Pieces(NamedTuple):
    """Room for paragraphs: bytes `starts[i]:ends[i]`, int64 each, and uint32[m, 2] spans in code points."""

    starts: np.ndarray
    ends: np.ndarray
    spans: np.ndarray


@piece
def _continues(data: np.ndarray, at: int, end: int, separator: np.ndarray) -> bool:
    """Does the separator, whose first byte is at `at`, stand there?"""
    width, same = len(separator), 1
    if at + width > end:
        return False
    while same < width and data[at + same] == separator[same]:
        same += 1
    return same == width


@piece
def _is_blank(data: np.ndarray, start: int, end: int) -> bool:
    """Is there nothing but white space (`str.isspace`) in `data[start:end]`?"""
    at = start
    while at < end:
        width = space_width(data, at)
        if width == 0:
            return False
        at += width
    return True


@piece
def _put(pieces: Pieces, count: int, start: int, end: int, char: int, after: int, wanted: bool) -> int:
    """Bytes `start:end`, code points `char:after`, behind `count` others if they are `wanted`; returns how many there
    are now. They are written in either case: nothing can tell beforehand which way a branch would go."""
    pieces.starts[count], pieces.ends[count] = start, end
    pieces.spans[count, 0], pieces.spans[count, 1] = char, after
    return count + wanted


@kernel
def _pieces_at_most(data: np.ndarray, byte: int, documents: int) -> int:
    count = documents
    for at in range(0, len(data), WIDTH):
        count += popcount(equal(data, at, byte))
    return count


@kernel
def split_paragraphs(
    data: np.ndarray, offsets: np.ndarray, competes: np.ndarray, separator: np.ndarray, min_chars: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The paragraphs that can be duplicates: of documents where `competes` is true, long enough, not blank.

    `min_chars` is in code points, the separator not counted. Returns per paragraph
    (starts int64[m], ends int64[m]: bytes of `data` without the separator, spans
    uint32[m, 2]: start and end in code points of the document, the separator that
    follows included), and per document (counts uint32[n]: paragraphs, chars
    int64[n]: code points). No document may have more than 2^32 code points.
    """
    documents = len(offsets) - 1
    most = _pieces_at_most(data, separator[0], documents)
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    spans = np.empty((most, 2), np.uint32)
    counts, chars = np.zeros(documents, np.uint32), np.zeros(documents, np.int64)
    pieces = Pieces(starts, ends, spans)
    separator_chars = chars_between(separator, 0, len(separator))
    count = 0
    for document in range(documents):
        low, high = offsets[document], offsets[document + 1]
        if not competes[document]:
            chars[document] = chars_between(data, low, high)
            continue
        start, char, before, total, visible = low, 0, count, 0, False
        for at in range(low, high, WIDTH):
            inside = below(min(high - at, WIDTH))
            found, continued = equal(data, at, separator[0]) & inside, continuing(data, at) & inside
            ink = visible_ascii(data, at) & inside
            if start > at:  # the last separator reaches into these bytes
                ink &= ~below(min(start - at, WIDTH))
            while found:
                place = at + first(found)
                found = without_first(found)
                if place < start or not _continues(data, place, high, separator):
                    continue
                passed = below(place - at)
                stop = total + place - at - popcount(continued & passed)
                visible |= (ink & passed) != 0
                ink &= ~below(min(place + len(separator) - at, WIDTH))
                wanted = stop - char >= min_chars
                if wanted & ~visible:
                    wanted = not _is_blank(data, start, place)
                count = _put(pieces, count, start, place, char, stop + separator_chars, wanted)
                start, char, visible = place + len(separator), stop + separator_chars, False
            visible |= ink != 0
            total += min(high - at, WIDTH) - popcount(continued)
        if start < high:
            wanted = total - char >= min_chars and not _is_blank(data, start, high)
            count = _put(pieces, count, start, high, char, total, wanted)
        counts[document] = count - before
        chars[document] = total
    return starts[:count], ends[:count], spans[:count], counts, chars


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
