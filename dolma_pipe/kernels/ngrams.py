"""Repeated n-grams of words, n = 2 to 10: MassiveText's repetition signals (Rae et al. 2021, A1.1, table A1).

An n-gram can only be a duplicate where both (n-1)-grams inside it are, so each length looks at the survivors of the
last; most pairs of words are known to be unique by a count of a few bits of their hashes. A gram's name is the place
where it occurs first. Pairs of words are compared by 64-bit hash (the odds that a document of w distinct ones holds two
of one hash are w^2 / 2^65: a million pairs, 3e-8), longer grams exactly, by the names of the two grams inside. Where
the gram without its last word occurred first, this one cannot occur earlier: so what goes on as it did there has its
name from there, and only what goes on otherwise is looked for in a table.

Scratch is nine bytes and two bits for each word of the longest document; tables stay small (`most_slots`, see
firsts.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.firsts import DEFERRED, capacity, clear, first_place, mix, table_size
from dolma_pipe.kernels.hashing import hash64, load_tail
from dolma_pipe.kernels.lengths import Lengths, characters, make_lengths, put_length
from dolma_pipe.kernels.marks import WINDOW, Marks, next_words, words_between
from dolma_pipe.kernels.masks import WIDTH, first, popcount, without_first
from dolma_pipe.kernels.utf8 import chars_between, continuations

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
OCCURRENCES, GRAM_CHARACTERS, COVERED, LONGEST, TOP_ROWS = range(5)
"""Rows of the first result of `ngram_signals`, for each n of `TOP`."""
REPEATS, ALL_COPIES, ALL_GRAMS, COPIED, REPEATED_ROWS = range(5)
"""Rows of its second result, for each n of `REPEATED`."""
MOST_SLOTS = 1 << 22

_MOST_WORDS = 10
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(1 << 63)
"""Marks the code of a first place; the rest of it is how often its gram occurs."""
_ZERO, _ONE, _LAST = np.uint64(0), np.uint64(1), np.uint64(63)


class Scratch(NamedTuple):
    """Work space of one document at a time; `m` is the largest number of words."""

    codes: np.ndarray  # uint64[m]: of the gram at each place: a key; once named, its name or _FIRST and its count
    lengths: Lengths
    listed: np.ndarray  # uint64[m / 64 + 1]: bits of the places where grams that are still of interest begin
    waiting: np.ndarray  # uint64[m / 64 + 1]: bits of the places whose gram has no name yet
    counts: np.ndarray  # uint8: how many pairs fell on each place, 2 for all above
    keys: np.ndarray  # the table of firsts.py
    slots: np.ndarray
    starts: np.ndarray  # int32[WINDOW]: some words
    ends: np.ndarray


@kernel
def _scratch(offsets: np.ndarray, marks: Marks, most_slots: int) -> Scratch:
    """Room for the longest document."""
    most_words, most_bytes = 1, 1
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        most_words, most_bytes = max(most_words, words_between(marks, start, end)), max(most_bytes, end - start)
    slots = table_size(most_words, most_slots)
    return Scratch(
        np.empty(most_words, np.uint64),
        make_lengths(most_words, most_bytes),
        np.zeros(most_words // WIDTH + 1, np.uint64),
        np.zeros(most_words // WIDTH + 1, np.uint64),
        np.empty(_most_counts(most_words, most_slots), np.uint8),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
        np.empty(WINDOW, np.int32),
        np.empty(WINDOW, np.int32),
    )


@piece
def _most_counts(words: int, most_slots: int) -> int:
    return table_size(2 * words, 8 * most_slots)


@piece
def _word_key(data: np.ndarray, start: int, end: int) -> tuple[np.uint64, int]:
    """(a well-mixed key of a word, its code points)."""
    size = end - start
    if size > 7:
        return hash64(data, start, end), chars_between(data, start, end)
    word = load_tail(data, start, size)
    return mix(word | np.uint64(size) << np.uint64(56)), size - continuations(word)


@piece
def _count_pairs(
    scratch: Scratch, data: np.ndarray, marks: Marks, start: int, end: int, places: int
) -> tuple[int, int]:
    """Writes the keys of all pairs of words of a document, the words' lengths, and how many pairs fell on each of
    `places`; returns how many words and code points there are."""
    for place in range(places):
        scratch.counts[place] = 0
    scratch.lengths.total[0] = 0
    last = np.uint64(places - 1)
    at, i, letters, previous = start, 0, 0, _ZERO
    while at < end:
        found, at = next_words(marks, at, end, scratch.starts, scratch.ends)
        for k in range(found):
            key, size = _word_key(data, scratch.starts[k], scratch.ends[k])
            put_length(scratch.lengths, i, size)
            if i > 0:
                pair = previous * _MULTIPLIER + key
                scratch.codes[i - 1] = pair
                scratch.counts[pair & last] = min(scratch.counts[pair & last] + 1, 2)
            previous, letters, i = key, letters + size, i + 1
    return i, letters


@piece
def _list_pairs(scratch: Scratch, count: int, places: int) -> None:
    """Lists where pairs of words begin that may occur more than once."""
    last = np.uint64(places - 1)
    for block in range(count // WIDTH + 1):
        bits = _ZERO
        for i in range(block * WIDTH, min(block * WIDTH + WIDTH, count - 1)):
            bits |= np.uint64(scratch.counts[scratch.codes[i] & last] > 1) << np.uint64(i % WIDTH)
        scratch.listed[block] = bits


@piece
def _name_of(scratch: Scratch, i: int) -> np.uint64:
    return np.uint64(i) if scratch.codes[i] >= _FIRST else scratch.codes[i]


@piece
def _lowest(bits: np.uint64) -> np.uint64:
    return bits & (~bits + _ONE)


@piece
def _name_grams(scratch: Scratch, count: int, from_names: bool) -> None:
    """Names the grams at the listed places, and counts how often each occurs.

    Their codes are keys, or `from_names` those of the grams that are shorter by one word: then two neighbours' names
    are the key. Where the table is too small for all of them, each round takes those of one part of all hashes.
    """
    left = _name_as_before(scratch, count) if from_names else _wait_for_all(scratch, count)
    size = table_size(left, len(scratch.keys))
    parts, part = _ONE, _ZERO
    while capacity(size) * np.int64(parts) < left:
        parts *= np.uint64(2)
    is_first_round = True
    while left > 0:
        clear(scratch.slots, size)
        room = capacity(size)
        for block in range(count // WIDTH + 1):
            bits = scratch.waiting[block]
            waiting = _ZERO
            while bits:
                i = block * WIDTH + first(bits)
                key = scratch.codes[i]
                if from_names and is_first_round:
                    key = _name_of(scratch, i) << np.uint64(32) | _name_of(scratch, i + 1)
                spread, name = mix(key), DEFERRED
                if (spread >> np.uint64(40)) & (parts - _ONE) == part:
                    name = first_place(scratch.keys, scratch.slots, size, key, spread, i, room)
                if name == DEFERRED:
                    waiting |= _lowest(bits)
                    scratch.codes[i] = key
                else:
                    scratch.codes[i] = _FIRST if name == i else np.uint64(name)
                    scratch.codes[name] += _ONE
                    room, left = room - (name == i), left - 1
                bits = without_first(bits)
            scratch.waiting[block] = waiting
        is_first_round = False
        part = part + _ONE & parts - _ONE


@piece
def _wait_for_all(scratch: Scratch, count: int) -> int:
    """All listed places wait for a name; returns how many there are."""
    total = 0
    for block in range(count // WIDTH + 1):
        scratch.waiting[block] = scratch.listed[block]
        total += popcount(scratch.listed[block])
    return total


@piece
def _is_listed(scratch: Scratch, i: int) -> bool:
    return (scratch.listed[i // WIDTH] >> np.uint64(i % WIDTH)) & _ONE != _ZERO


@piece
def _name_as_before(scratch: Scratch, count: int) -> int:
    """Names the grams that begin like one that occurred first here, or go on as that one did, and counts them; the
    others wait: returns how many. No place that gets its name here had another one."""
    total = 0
    for block in range(count // WIDTH + 1):
        bits = scratch.listed[block]
        waiting = _ZERO
        while bits:
            i = block * WIDTH + first(bits)
            name = np.int64(_name_of(scratch, i))
            if name == i:
                scratch.codes[i] = _FIRST + _ONE
            elif _is_listed(scratch, name) and _name_of(scratch, name + 1) == _name_of(scratch, i + 1):
                scratch.codes[name] += _ONE
            else:
                waiting |= _lowest(bits)
            bits = without_first(bits)
        scratch.waiting[block] = waiting
        total += popcount(waiting)
    return total


@piece
def _keep_neighbours(scratch: Scratch, count: int) -> bool:
    """Keeps the listed places whose successor is listed too; is any left?"""
    found, blocks = _ZERO, count // WIDTH + 1
    for block in range(blocks):
        following = scratch.listed[block + 1] << _LAST if block + 1 < blocks else _ZERO
        scratch.listed[block] &= scratch.listed[block] >> _ONE | following
        found |= scratch.listed[block]
    return found != _ZERO


@piece
def _measure_top(scratch: Scratch, count: int, n: int, found: np.ndarray) -> None:
    """Fills OCCURRENCES, GRAM_CHARACTERS, COVERED for the most frequent n-gram, of equals the first, and LONGEST; keeps
    the listed places whose gram occurs more than once."""
    lengths = scratch.lengths
    top, most, longest = 0, _FIRST + _ONE, characters(lengths, 0, n)
    for block in range(count // WIDTH + 1):
        bits = scratch.listed[block]
        kept = bits
        while bits:
            i = block * WIDTH + first(bits)
            code = scratch.codes[i]
            if code == _FIRST + _ONE:
                kept ^= _lowest(bits)
            elif code >= most:
                size = characters(lengths, i, n)
                longest = max(longest, size) if code == most else size
                top, most = top if code == most else i, code
            bits = without_first(bits)
        scratch.listed[block] = kept
    size = characters(lengths, top, n)
    covered, reached = size, top + n
    if most > _FIRST + _ONE:
        for block in range(top // WIDTH, count // WIDTH + 1):
            bits = scratch.listed[block]
            while bits:
                i = block * WIDTH + first(bits)
                if scratch.codes[i] == np.uint64(top):
                    covered += characters(lengths, max(i, reached), i + n - max(i, reached))
                    reached = i + n
                bits = without_first(bits)
    found[OCCURRENCES], found[GRAM_CHARACTERS] = np.int64(most - _FIRST), size
    found[COVERED], found[LONGEST] = covered, longest


@piece
def _measure_repeated(scratch: Scratch, count: int, n: int, found: np.ndarray) -> None:
    """Fills all but ALL_GRAMS; keeps the listed places whose gram occurs more than once."""
    lengths = scratch.lengths
    repeats, copies, copied, reached, previous = 0, 0, 0, 0, 0
    for block in range(count // WIDTH + 1):
        bits = scratch.listed[block]
        kept = bits
        while bits:
            i = block * WIDTH + first(bits)
            code = scratch.codes[i]
            if code == _FIRST + _ONE:
                kept ^= _lowest(bits)
            else:
                copies += characters(lengths, i, n)
                copied += characters(lengths, max(i, previous), i + n - max(i, previous))
                previous = i + n
                if code < _FIRST:
                    repeats += characters(lengths, max(i, reached), i + n - max(i, reached))
                    reached = i + n
            bits = without_first(bits)
        scratch.listed[block] = kept
    found[REPEATS], found[ALL_COPIES], found[COPIED] = repeats, copies, copied


@piece
def _all_gram_characters(lengths: Lengths, count: int, n: int, total: int) -> int:
    """Code points of all n-grams of a document whose words have `total`, each gram counted whole."""
    most = min(n, count - n + 1)  # grams that hold a word in the middle
    found = total * most
    for j in range(most - 1):
        found -= (most - 1 - j) * (characters(lengths, j, 1) + characters(lengths, count - 1 - j, 1))
    return found


@kernel
def ngram_signals(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, most_slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeated n-grams of each document: (int64[n, 3, TOP_ROWS], int64[n, 6, REPEATED_ROWS], int64[n]).

    For 2 to 4 words: OCCURRENCES of the most frequent gram (of equals the one that occurs first; they may overlap),
    its GRAM_CHARACTERS, the characters COVERED by all its occurrences; of those equally frequent the characters of the
    LONGEST. For 5 to 10: characters inside REPEATS, that is any occurrence of a gram but its first, each character
    counted once; COPIED, the same with the first one; and as Dolma counts, overlapping grams each in full: ALL_COPIES
    of the grams that occur more than once, ALL_GRAMS. 0 where a document has fewer than n words.
    The third result is the characters of all words. `most_slots`, a power of two, bounds the hash table.
    """
    documents = len(offsets) - 1
    top = np.zeros((documents, len(TOP), TOP_ROWS), np.int64)
    repeated = np.zeros((documents, len(REPEATED), REPEATED_ROWS), np.int64)
    characters_in = np.zeros(documents, np.int64)
    scratch = _scratch(offsets, marks, most_slots)
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        places = _most_counts(words_between(marks, start, end), most_slots)
        count, characters_in[document] = _count_pairs(scratch, data, marks, start, end, places)
        if count < 2:
            continue
        _list_pairs(scratch, count, places)
        some = True
        for n in range(2, min(count, _MOST_WORDS) + 1):
            if some:
                _name_grams(scratch, count, n > 2)
            if n <= TOP[-1]:
                _measure_top(scratch, count, n, top[document, n - 2])
            else:
                if some:
                    _measure_repeated(scratch, count, n, repeated[document, n - 5])
                total = _all_gram_characters(scratch.lengths, count, n, characters_in[document])
                repeated[document, n - 5, ALL_GRAMS] = total
            some = some and _keep_neighbours(scratch, count)
    return top, repeated, characters_in
