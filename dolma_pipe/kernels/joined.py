"""Repeated n-grams as datatrove counts them, n = 5 to 10: words joined without a space, so ("ab", "c") is ("a", "bc");
a gram that was seen before is skipped whole, and nothing that begins inside it is remembered.

Equal grams have equal first bytes: only where the next few bytes (white space left out) occur at another word too, or
a gram is shorter than that, do grams have to be hashed. Grams are compared by hash, as in ngrams.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.firsts import mix, name_keys, table_size
from dolma_pipe.kernels.hashing import hash64, load64
from dolma_pipe.kernels.ngrams import REPEATED

_SHORTEST, _LONGEST = REPEATED[0], REPEATED[-1]
_PREFIXES = (13, 20, 0, 28, 0, 0)
"""Bytes that are compared before grams of 5, 6 ... 10 words are; 0: not again."""


class Scratch(NamedTuple):
    """Work space of one document at a time: `m` words at most, `b` bytes."""

    text: np.ndarray  # uint8[b]: the words, joined
    places: np.ndarray  # int32[m + 1]: where each begins there
    letters: np.ndarray  # int32[m + 1]: code points before each
    hashes: np.ndarray  # uint64[m]
    names: np.ndarray  # int32[m]
    counts: np.ndarray  # int32[m]
    candidates: np.ndarray  # int32[m]: words where a gram begins that may repeat
    filter: np.ndarray  # uint8: how many words fell on each place, 2 for all above
    keys: np.ndarray  # the table of firsts.py
    slots: np.ndarray


@piece
def _store64(text: np.ndarray, at: int, word: np.uint64) -> None:
    """Eight bytes from `at` on; compiles to one store."""
    for k in range(8):
        text[at + k] = (word >> np.uint64(8 * k)) & np.uint64(0xFF)


@piece
def _join(
    scratch: Scratch, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, chars: np.ndarray, first: int, count: int
) -> None:
    place, letters = 0, 0
    for i in range(count):
        scratch.places[i], scratch.letters[i] = place, letters
        at, end = starts[first + i], ends[first + i]
        letters += chars[first + i]
        while at + 8 <= len(data) and at < end:  # may write up to seven bytes too many, which the next word covers
            _store64(scratch.text, place, load64(data, at))
            size = min(end - at, 8)
            at, place = at + size, place + size
        while at < end:
            scratch.text[place] = data[at]
            at, place = at + 1, place + 1
    scratch.places[count], scratch.letters[count] = place, letters


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
    size = 4
    while size < 4 * listed and size < len(scratch.filter):
        size *= 2
    for slot in range(size):
        scratch.filter[slot] = 0
    end = scratch.places[count] - prefix
    for k in range(listed):
        place = scratch.places[scratch.candidates[k]]
        if place <= end:
            slot = np.int32((_prefix_hash(scratch.text, place, prefix) >> np.uint64(20)) & np.uint64(size - 1))
            scratch.names[k] = slot
            scratch.filter[slot] = min(scratch.filter[slot] + 1, 2)
    kept = 0
    for k in range(listed):
        i = scratch.candidates[k]
        scratch.candidates[kept] = i
        short = i + n > count or scratch.places[i + n] - scratch.places[i] < prefix
        kept += int(short or scratch.filter[scratch.names[k]] > 1)
    return kept


@piece
def _repeated_characters(scratch: Scratch, listed: int, n: int) -> int:
    """Characters of n-grams that were seen before, from left to right, skipping each of them whole."""
    for k in range(listed):
        i = scratch.candidates[k]
        scratch.hashes[k] = hash64(scratch.text, scratch.places[i], scratch.places[i + n])
    name_keys(scratch.hashes, 0, listed, scratch.names, scratch.counts, scratch.keys, scratch.slots)
    for k in range(listed):
        scratch.counts[k] = 0
    repeated, reached = 0, 0
    for k in range(listed):
        i, name = scratch.candidates[k], scratch.names[k]
        if i < reached:
            continue
        if scratch.counts[name] > 0:
            repeated += scratch.letters[i + n] - scratch.letters[i]
            reached = i + n
        scratch.counts[name] = 1
    return repeated


@kernel
def joined_repeats(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, chars: np.ndarray, offsets: np.ndarray, most_slots: int
) -> np.ndarray:
    """Characters in repeated grams of 5 to 10 words of each document: int64[n, 6]. `most_slots` bounds the table."""
    found = np.zeros((len(offsets) - 1, _LONGEST - _SHORTEST + 1), np.int64)
    words, size = 1, 1
    for document in range(len(offsets) - 1):
        first, last = offsets[document], offsets[document + 1]
        words = max(words, last - first)
        if last > first:
            size = max(size, ends[last - 1] - starts[first])
    slots = table_size(words, most_slots)
    scratch = Scratch(
        np.empty(size + 8, np.uint8),
        np.empty(words + 1, np.int32),
        np.empty(words + 1, np.int32),
        np.empty(words, np.uint64),
        np.empty(words, np.int32),
        np.empty(words, np.int32),
        np.empty(words, np.int32),
        np.empty(max(2 * slots, 4), np.uint8),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
    )
    for document in range(len(offsets) - 1):
        first = offsets[document]
        count = offsets[document + 1] - first
        if count <= _SHORTEST:
            continue
        _join(scratch, data, starts, ends, chars, first, count)
        listed = count - _SHORTEST + 1
        for i in range(listed):
            scratch.candidates[i] = i
        for n in range(_SHORTEST, min(count, _LONGEST) + 1):
            prefix = _PREFIXES[n - _SHORTEST]
            if prefix > 0:
                listed = _keep_candidates(scratch, count, listed, n, prefix)
            while listed > 0 and scratch.candidates[listed - 1] > count - n:
                listed -= 1
            found[document, n - _SHORTEST] = _repeated_characters(scratch, listed, n)
    return found
