"""Repeated n-grams as datatrove counts them, n = 5 to 10: words joined without a space, so ("ab", "c") is ("a", "bc");
a gram that was seen before is skipped whole, and nothing that begins inside it is remembered.

Equal grams have equal first bytes: only where the next few bytes (white space left out) occur at another word too, or
a gram is shorter than that, do grams have to be hashed. Grams are compared by hash, as in ngrams.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.firsts import capacity, clear, mix, table_size
from dolma_pipe.kernels.hashing import hash64, load64
from dolma_pipe.kernels.marks import WINDOW, Marks, next_words, words_between
from dolma_pipe.kernels.masks import WIDTH, below, first, without_first
from dolma_pipe.kernels.ngrams import REPEATED
from dolma_pipe.kernels.utf8 import chars_between

_SHORTEST, _LONGEST = REPEATED[0], REPEATED[-1]
_PREFIXES = (13, 20, 0, 28, 0, 0)
"""Bytes that are compared before grams of 5, 6 ... 10 words are; 0: not again."""


class Scratch(NamedTuple):
    """Work space of one document at a time: `m` words at most, `b` bytes."""

    text: np.ndarray  # uint8[b]: the words, joined
    places: np.ndarray  # int32[m + 1]: where each begins there
    listed: np.ndarray  # uint64[m / 64 + 1]: bits of the words where a gram begins that may repeat
    hashed: np.ndarray  # int32[m]: where each listed word falls in `filter`
    filter: np.ndarray  # uint8: how many words fell on each place, 2 for all above
    starts: np.ndarray  # int32[WINDOW]: some words
    ends: np.ndarray


@piece
def _store64(text: np.ndarray, at: int, word: np.uint64) -> None:
    """Eight bytes from `at` on; compiles to one store."""
    for k in range(8):
        text[at + k] = (word >> np.uint64(8 * k)) & np.uint64(0xFF)


@piece
def _join(scratch: Scratch, data: np.ndarray, marks: Marks, low: int, high: int) -> int:
    """Joins the words of `data[low:high]`; returns how many there are."""
    place, count, next_word = 0, 0, low
    while next_word < high:
        found, next_word = next_words(marks, next_word, high, scratch.starts, scratch.ends)
        for k in range(found):
            scratch.places[count] = place
            count += 1
            at, end = np.int64(scratch.starts[k]), np.int64(scratch.ends[k])
            while at + 8 <= len(data) and at < end:  # may write up to seven bytes too many, which the next word covers
                _store64(scratch.text, place, load64(data, at))
                size = min(end - at, 8)
                at, place = at + size, place + size
            while at < end:
                scratch.text[place] = data[at]
                at, place = at + 1, place + 1
    scratch.places[count] = place
    return count


@piece
def _prefix_hash(text: np.ndarray, start: int, size: int) -> np.uint64:
    """Hash of 8 bytes or more: of overlapping groups of eight."""
    last = start + size - 8
    key = mix(load64(text, last))
    for at in range(start, last, 8):
        key = mix(key + load64(text, at))
    return key


@piece
def _keep_candidates(scratch: Scratch, count: int, listed: int, n: int, prefix: int) -> int:
    """Keeps the listed words whose next `prefix` bytes may begin another listed word too, and those whose n-gram is
    shorter than that; returns how many. `filter` counts words by a few bits of a hash."""
    size = table_size(2 * listed, len(scratch.filter))
    for slot in range(size):
        scratch.filter[slot] = 0
    end, k = scratch.places[count] - prefix, 0
    for block in range(count // WIDTH + 1):
        bits = scratch.listed[block]
        while bits:
            place = np.int64(scratch.places[block * WIDTH + first(bits)])
            bits = without_first(bits)
            if place <= end:
                slot = np.int32(_prefix_hash(scratch.text, place, prefix) >> np.uint64(20) & np.uint64(size - 1))
                scratch.hashed[k] = slot
                scratch.filter[slot] = min(scratch.filter[slot] + 1, 2)
            k += 1
    k, kept = 0, 0
    for block in range(count // WIDTH + 1):
        bits, left = scratch.listed[block], np.uint64(0)
        while bits:
            i, rest = block * WIDTH + first(bits), without_first(bits)
            short = i + n > count or scratch.places[i + n] - scratch.places[i] < prefix
            if short or scratch.filter[scratch.hashed[k]] > 1:
                left, kept = left | bits ^ rest, kept + 1
            bits, k = rest, k + 1
        scratch.listed[block] = left
    return kept


@kernel
def _grown(keys: np.ndarray, size: int) -> np.ndarray:
    """The same keys in a set of twice the size."""
    found = np.zeros(2 * size, np.uint64)
    last = np.uint64(2 * size - 1)
    for key in keys[:size]:
        if key:
            slot = key & last
            while found[slot]:
                slot = slot + np.uint64(1) & last
            found[slot] = key
    return found


@piece
def _repeats(
    scratch: Scratch, count: int, n: int, keys: np.ndarray, size: int, at: int, reached: int, held: int
) -> tuple[int, int, int, int]:
    """Goes on from word `at` until the set of hashes (0: a free place) holds as many as it should, or to the end.

    Returns the characters of n-grams that were seen before, each of them skipped whole; where to go on, or `count`; up
    to where words are skipped; and how many hashes the set holds.
    """
    repeated, last = 0, np.uint64(size - 1)
    for block in range(at // WIDTH, count // WIDTH + 1):
        bits = scratch.listed[block] & ~below(max(at - block * WIDTH, 0))
        while bits:
            i = block * WIDTH + first(bits)
            bits = without_first(bits)
            if i < reached or i + n > count:
                continue
            low, high = np.int64(scratch.places[i]), np.int64(scratch.places[i + n])
            key = max(hash64(scratch.text, low, high), np.uint64(1))
            slot = key & last
            while keys[slot] and keys[slot] != key:
                slot = slot + np.uint64(1) & last
            if keys[slot]:
                repeated += chars_between(scratch.text, low, high)
                reached = i + n
            else:
                keys[slot], held = key, held + 1
                if held > capacity(size):
                    return repeated, i + 1, reached, held
    return repeated, count, reached, held


@kernel
def _scratch(offsets: np.ndarray, marks: Marks, most_slots: int) -> Scratch:
    """Room for the longest document."""
    words, size = 1, 1
    for document in range(len(offsets) - 1):
        words = max(words, words_between(marks, offsets[document], offsets[document + 1]))
        size = max(size, offsets[document + 1] - offsets[document])
    return Scratch(
        np.empty(size + 8, np.uint8),
        np.empty(words + 1, np.int32),
        np.empty(words // WIDTH + 1, np.uint64),
        np.empty(words, np.int32),
        np.empty(table_size(2 * words, 16 * most_slots), np.uint8),
        np.empty(WINDOW, np.int32),
        np.empty(WINDOW, np.int32),
    )


@kernel
def joined_repeats(data: np.ndarray, offsets: np.ndarray, marks: Marks, most_slots: int) -> np.ndarray:
    """Characters in repeated grams of 5 to 10 words of each document: int64[n, 6]. `most_slots`, a power of two, is the
    size from which on the set of grams grows as it fills."""
    found = np.zeros((len(offsets) - 1, _LONGEST - _SHORTEST + 1), np.int64)
    scratch = _scratch(offsets, marks, most_slots)
    keys = np.empty(table_size(len(scratch.places), most_slots), np.uint64)
    for document in range(len(offsets) - 1):
        count = _join(scratch, data, marks, offsets[document], offsets[document + 1])
        if count <= _SHORTEST:
            continue
        listed = count - _SHORTEST + 1
        for block in range(count // WIDTH + 1):
            scratch.listed[block] = below(max(min(listed - block * WIDTH, WIDTH), 0))
        for n in range(_SHORTEST, min(count, _LONGEST) + 1):
            prefix = _PREFIXES[n - _SHORTEST]
            if prefix > 0:
                listed = _keep_candidates(scratch, count, listed, n, prefix)
            size, at, reached, held = table_size(listed, len(keys)), 0, 0, 0
            clear(keys, size)
            while at < count:
                repeated, at, reached, held = _repeats(scratch, count, n, keys, size, at, reached, held)
                found[document, n - _SHORTEST] += repeated
                if held > capacity(size):
                    keys, size = _grown(keys, size), 2 * size
    return found
