"""Repeated n-grams of words, n = 2 to 10: MassiveText's repetition signals (Rae et al. 2021, A1.1, table A1).

An n-gram can only be a duplicate where both (n-1)-grams inside it are, so each length looks at the survivors of the
last. A gram's name is the place where it occurs first; the name of an n-gram follows from the name of its
(n-1)-gram and of its last word, a pair that fits 64 bits, so grams are compared exactly. Only words are compared by
hash: the odds that a document of w distinct words holds two of one hash are w^2 / 2^65 (a million words: 3e-8).

Scratch is as large as the longest document asks for; the table stays small (`most_slots`, see firsts.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.firsts import DEFERRED, capacity, clear, first_place, mix, name_keys, table_size

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
OCCURRENCES, GRAM_CHARACTERS, COVERED, TOP_ROWS = range(4)
"""Rows of the first result of `ngram_signals`, for each n of `TOP`."""
REPEATS, ALL_COPIES, ALL_GRAMS, REPEATED_ROWS = range(4)
"""Rows of its second result, for each n of `REPEATED`."""
MOST_SLOTS = 1 << 21

_LONGEST = 10


class Scratch(NamedTuple):
    """Work space of one document at a time; `m` is the largest number of words."""

    words: np.ndarray  # int32[m]: name of the word at each place
    names: np.ndarray  # int32[m]: name of the gram that begins at each place
    counts: np.ndarray  # int32[m]: occurrences of a gram, at its first place
    places: np.ndarray  # int32[m]: where grams that are still of interest begin, ascending
    keys: np.ndarray  # the table of firsts.py
    slots: np.ndarray


@piece
def _repeated_words(scratch: Scratch, count: int) -> int:
    """Lists the places where two repeated words follow each other; returns how many."""
    kept = 0
    for i in range(count - 1):
        scratch.names[i] = scratch.words[i]
        scratch.places[kept] = i
        both = min(scratch.counts[scratch.words[i]], scratch.counts[scratch.words[i + 1]])
        kept += int(both > 1)
    return kept


@piece
def _name_grams(scratch: Scratch, candidates: int, n: int) -> None:
    """From the names of (n-1)-grams to those of n-grams at the listed places, and how often each occurs.

    A name that was made in this call is stored inverted, so that later rounds leave it alone.
    """
    size = table_size(candidates, len(scratch.keys))
    for k in range(candidates):
        scratch.counts[scratch.places[k]] = 0
    left = candidates
    while left > 0:
        clear(scratch.slots, size)
        room = capacity(size)
        for k in range(candidates):
            i = scratch.places[k]
            if scratch.names[i] >= 0:
                key = np.uint64(scratch.names[i]) << np.uint64(32) | np.uint64(scratch.words[i + n - 1])
                name = first_place(scratch.keys, scratch.slots, size, key, mix(key), i, room)
                if name != DEFERRED:
                    scratch.names[i] = ~name
                    scratch.counts[name] += 1
                    room -= int(name == i)
                    left -= 1
    for k in range(candidates):
        scratch.names[scratch.places[k]] = ~scratch.names[scratch.places[k]]


@piece
def _keep_duplicates(scratch: Scratch, candidates: int) -> int:
    """Keeps the listed places whose gram occurs more than once; returns how many."""
    kept = 0
    for k in range(candidates):
        i = scratch.places[k]
        scratch.places[kept] = i
        kept += int(scratch.counts[scratch.names[i]] > 1)
    return kept


@piece
def _keep_neighbours(scratch: Scratch, survivors: int) -> int:
    """Keeps the listed places whose successor is listed too; returns how many."""
    kept = 0
    for k in range(survivors - 1):
        i = scratch.places[k]
        scratch.places[kept] = i
        kept += int(scratch.places[k + 1] == i + 1)
    return kept


@piece
def _measure_top(scratch: Scratch, survivors: int, n: int, chars: np.ndarray, first: int, found: np.ndarray) -> None:
    """Fills OCCURRENCES, GRAM_CHARACTERS, COVERED for the most frequent n-gram, of equals the first."""
    top, most = 0, 1
    for k in range(survivors):
        i = scratch.places[k]
        if scratch.names[i] == i and scratch.counts[i] > most:
            top, most = i, scratch.counts[i]
    characters = 0
    for j in range(first + top, first + top + n):
        characters += chars[j]
    covered = characters if most == 1 else 0
    reached = 0
    for k in range(survivors):
        i = scratch.places[k]
        if most > 1 and scratch.names[i] == top:
            for j in range(max(i, reached), i + n):
                covered += chars[first + j]
            reached = i + n
    found[OCCURRENCES], found[GRAM_CHARACTERS], found[COVERED] = most, characters, covered


@piece
def _measure_repeated(
    scratch: Scratch, survivors: int, n: int, chars: np.ndarray, first: int, found: np.ndarray
) -> None:
    """Fills REPEATS and ALL_COPIES for the n-grams at the listed places, all of which occur more than once."""
    repeats, copies, window, reached, previous = 0, 0, 0, 0, -2
    for k in range(survivors):
        i = scratch.places[k]
        if i == previous + 1:
            window += chars[first + i + n - 1] - chars[first + i - 1]
        else:
            window = 0
            for j in range(i, i + n):
                window += chars[first + j]
        previous = i
        copies += window
        if scratch.names[i] != i:
            for j in range(max(i, reached), i + n):
                repeats += chars[first + j]
            reached = i + n
    found[REPEATS], found[ALL_COPIES] = repeats, copies


@piece
def _all_gram_characters(chars: np.ndarray, first: int, count: int, n: int, characters: int) -> int:
    """Characters of all n-grams of a document of so many `characters`, each gram counted whole."""
    most = min(n, count - n + 1)  # grams that hold a word in the middle
    total = characters * most
    for j in range(most - 1):
        missing = most - 1 - j
        total -= missing * (chars[first + j] + chars[first + count - 1 - j])
    return total


@kernel
def ngram_signals(
    hashes: np.ndarray, chars: np.ndarray, offsets: np.ndarray, most_slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeated n-grams of each document: (int64[n, 3, TOP_ROWS], int64[n, 6, REPEATED_ROWS], int64[n]).

    For 2 to 4 words: OCCURRENCES of the most frequent gram (of equals the one that occurs first; they may overlap),
    its GRAM_CHARACTERS, the characters COVERED by all its occurrences. For 5 to 10: characters inside REPEATS, that is
    any occurrence of a gram but its first, each character counted once; and as Dolma counts, overlapping grams each
    in full: ALL_COPIES of the grams that occur more than once, ALL_GRAMS. 0 where a document has fewer than n words.
    The third result is the characters of all words. `most_slots`, a power of two, bounds the hash table.
    """
    documents = len(offsets) - 1
    top = np.zeros((documents, len(TOP), TOP_ROWS), np.int64)
    repeated = np.zeros((documents, len(REPEATED), REPEATED_ROWS), np.int64)
    characters = np.zeros(documents, np.int64)
    longest = 1
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    slots = table_size(longest, most_slots)
    scratch = Scratch(
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(longest, np.int32),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
    )
    for document in range(documents):
        first = offsets[document]
        count = offsets[document + 1] - first
        for i in range(first, first + count):
            characters[document] += chars[i]
        if count < 2:
            continue
        name_keys(hashes, first, count, scratch.words, scratch.counts, scratch.keys, scratch.slots)
        candidates = _repeated_words(scratch, count)
        for n in range(2, min(count, _LONGEST) + 1):
            if candidates > 0:
                _name_grams(scratch, candidates, n)
                candidates = _keep_duplicates(scratch, candidates)
            if n <= TOP[-1]:
                _measure_top(scratch, candidates, n, chars, first, top[document, n - 2])
            else:
                _measure_repeated(scratch, candidates, n, chars, first, repeated[document, n - 5])
                repeated[document, n - 5, ALL_GRAMS] = _all_gram_characters(
                    chars, first, count, n, characters[document]
                )
            candidates = _keep_neighbours(scratch, candidates)
    return top, repeated, characters
