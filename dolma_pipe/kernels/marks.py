"""Where words lie, as two bits for every byte of a batch: a quarter of the text's size, however short its words are.

Words follow each other in windows of a few thousand (`next_words`), so a kernel that reads them from first to last
needs no more memory for a document of a hundred megabytes than for a short one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.masks import WIDTH, below, equal, first, last, most, popcount, without_first
from dolma_pipe.kernels.whitespace import space_width

_ZERO, _ONE, _LAST = np.uint64(0), np.uint64(1), np.uint64(63)
WINDOW = 1024
"""Room for the words that are looked at together."""


class Marks(NamedTuple):
    """Bit `i % 64` of word `i // 64` is byte i of the batch; there is a word for the byte behind the last one too.

    A word ends where the next one starts or where a byte is not inside; none goes from one document into the next.
    """

    starts: np.ndarray  # uint64[size // 64 + 1]: a word starts here
    inside: np.ndarray  # uint64[size // 64 + 1]: this byte belongs to a word


@piece
def _white(data: np.ndarray, at: int) -> np.uint64:
    """The ASCII white space of `str.isspace` among the 64 bytes at `at`."""
    return (most(data, at, 0x20) & ~most(data, at, 0x1B)) | (most(data, at, 0x0D) & ~most(data, at, 0x08))


@piece
def _wide(data: np.ndarray, at: int) -> np.uint64:
    """The bytes that may begin other white space."""
    return equal(data, at, 0xC2) | (most(data, at, 0xE3) & ~most(data, at, 0xE0))


@kernel
def white_words(data: np.ndarray, offsets: np.ndarray) -> Marks:
    """The words that `str.split()` makes of each document."""
    size = len(data) // WIDTH + 1
    starts, inside = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    for at in range(0, len(data), WIDTH):
        inside[at // WIDTH] = ~_white(data, at) & below(len(data) - at)
    for at in range(0, len(data), WIDTH):
        found = _wide(data, at)
        while found:
            place = at + first(found)
            found = without_first(found)
            for i in range(place, place + space_width(data, place)):
                inside[i // WIDTH] &= ~(_ONE << np.uint64(i % WIDTH))
    before = _ZERO
    for i in range(size):
        starts[i] = inside[i] & ~(inside[i] << _ONE | before)
        before = inside[i] >> _LAST
    for document in range(len(offsets) - 1):
        at = offsets[document]
        starts[at // WIDTH] |= inside[at // WIDTH] & _ONE << np.uint64(at % WIDTH)
    return Marks(starts, inside)


@kernel
def mark_words(starts: np.ndarray, ends: np.ndarray, size: int) -> Marks:
    """Marks of the words `starts[i]:ends[i]` in `size` bytes."""
    marks = Marks(np.zeros(size // WIDTH + 1, np.uint64), np.zeros(size // WIDTH + 1, np.uint64))
    for word in range(len(starts)):
        put_word(marks, starts[word], ends[word])
    return marks


@piece
def put_word(marks: Marks, start: int, end: int) -> None:
    """Marks the word `start:end`, which holds a byte or more."""
    block, last_block, bits = start // WIDTH, (end - 1) // WIDTH, ~below(start % WIDTH)
    marks.starts[block] |= _ONE << np.uint64(start % WIDTH)
    while block < last_block:
        marks.inside[block] |= bits
        block, bits = block + 1, ~_ZERO
    marks.inside[block] |= bits & below((end - 1) % WIDTH + 1)


@kernel
def outer_words(marks: Marks, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the first word of each range begins and its last one ends: int32[m] each, of ranges that hold a word."""
    froms, tos = np.empty(len(starts), np.int32), np.empty(len(starts), np.int32)
    for i in range(len(starts)):
        froms[i] = first_inside(marks, starts[i], ends[i])
        tos[i] = behind_inside(marks, froms[i], ends[i])
    return froms, tos


@piece
def ends_in(marks: Marks, block: int) -> np.uint64:
    """Where words end: the first byte behind each."""
    before = marks.inside[block] << _ONE
    if block > 0:
        before |= marks.inside[block - 1] >> _LAST
    return before & (~marks.inside[block] | marks.starts[block])


@piece
def word_end(marks: Marks, at: int) -> int:
    """Where the word ends that byte `at` belongs to."""
    block = at // WIDTH
    found = ends_in(marks, block) & ~below(at % WIDTH + 1)
    while not found:
        block += 1
        found = ends_in(marks, block)
    return block * WIDTH + first(found)


@piece
def word_start(marks: Marks, at: int) -> int:
    """The first byte from `at` on where a word starts, or a place behind the last document's end if there is none."""
    block = at // WIDTH
    found = marks.starts[block] & ~below(at % WIDTH)
    while not found:
        block += 1
        if block == len(marks.starts):
            return block * WIDTH
        found = marks.starts[block]
    return block * WIDTH + first(found)


@piece
def own_start(marks: Marks, at: int) -> int:
    """Where the word starts that byte `at` belongs to."""
    block = at // WIDTH
    found = marks.starts[block] & below(at % WIDTH + 1)
    while not found:
        block -= 1
        found = marks.starts[block]
    return block * WIDTH + last(found)


@piece
def is_inside(marks: Marks, at: int) -> bool:
    """Whether byte `at` belongs to a word."""
    return bool(marks.inside[at // WIDTH] >> np.uint64(at % WIDTH) & _ONE)


@piece
def first_inside(marks: Marks, start: int, end: int) -> int:
    """The first byte of `data[start:end]` that belongs to a word, or `end`."""
    block = start // WIDTH
    found = marks.inside[block] & ~below(start % WIDTH)
    while not found and (block + 1) * WIDTH < end:
        block += 1
        found = marks.inside[block]
    return min(block * WIDTH + first(found), end)


@piece
def behind_inside(marks: Marks, start: int, end: int) -> int:
    """Behind the last byte of `data[start:end]` that belongs to a word, or `start`."""
    block = end // WIDTH
    found = marks.inside[block] & below(end % WIDTH)
    while not found and block * WIDTH > start:
        block -= 1
        found = marks.inside[block]
    return max(block * WIDTH + last(found) + 1, start)


@piece
def _put(bits: np.uint64, base: int, places: np.ndarray, count: int) -> int:
    """Appends the places of a mask's bits; returns how many there are now. More is written than counts: a loop that
    ends at the last bit would be mispredicted at nearly every mask."""
    found = popcount(bits)
    for i in range(8):
        places[count + i] = base + first(bits)
        bits = without_first(bits)
    if found > 8:
        for i in range(8, 16):
            places[count + i] = base + first(bits)
            bits = without_first(bits)
        for i in range(16, found):
            places[count + i] = base + first(bits)
            bits = without_first(bits)
    return count + found


@piece
def next_words(marks: Marks, at: int, end: int, starts: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """Writes the words that begin in `at:end`, as many as fit `WINDOW`; returns how many, and where to go on: `end` if
    there are no more. `at` is where the document begins or where the last call said, `end` where it ends."""
    block, opened, closed = at // WIDTH, 0, 0
    begun = marks.starts[block] & ~below(at % WIDTH)
    over = ends_in(marks, block) & ~below(at % WIDTH + 1)
    while True:
        base = block * WIDTH
        if base + WIDTH > end:
            begun &= below(max(end - base, 0))
            over &= below(max(end - base + 1, 0))
        opened, closed = _put(begun, base, starts, opened), _put(over, base, ends, closed)
        if base + WIDTH > end:
            return closed, end
        if opened > WINDOW - 2 * WIDTH and closed > 0:
            return closed, base + WIDTH if opened == closed else starts[closed]
        block += 1
        begun, over = marks.starts[block], ends_in(marks, block)


@kernel
def count_words(marks: Marks, offsets: np.ndarray) -> np.ndarray:
    """Words of each document: int64[n]."""
    counts = np.zeros(len(offsets) - 1, np.int64)
    for document in range(len(counts)):
        counts[document] = words_between(marks, offsets[document], offsets[document + 1])
    return counts


@piece
def words_between(marks: Marks, start: int, end: int) -> int:
    """How many words start in `start:end`."""
    block, count = start // WIDTH, 0
    found = marks.starts[block] & ~below(start % WIDTH)
    while (block + 1) * WIDTH <= end:
        count += popcount(found)
        block += 1
        found = marks.starts[block]
    return count + popcount(found & below(max(end - block * WIDTH, 0)))
