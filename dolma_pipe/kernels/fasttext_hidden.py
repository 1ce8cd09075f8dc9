"""fastText's hidden layer: the mean of the vectors of a line's words, character n-grams and word n-grams.

Rows are added in the library's order, in float32, so that a text of megabytes comes out as there, rounding included.
What is faster here: the rows of a word are looked up once per call, since words repeat.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.fasttext import (
    Vocabulary,
    begins_character,
    equal,
    find,
    fnv,
    is_blank,
    is_end,
    is_label,
    put_bucket,
    put_ngrams,
    word_end,
)
from dolma_pipe.kernels.hashing import hash64

ENTRY = np.dtype(
    [
        ("key", np.uint64),  # hash64 of the word; 0 bytes of `size` mean that the place is empty
        ("start", np.int32),
        ("size", np.int32),
        ("first", np.int32),  # its rows are those from `first` to `last`; a label has a `last` of -1
        ("last", np.int32),
        ("hash", np.int32),  # what n-grams of words are made of
        ("_", np.int32),
    ]
)
"""A word of this call; 32 bytes, so that finding one costs one cache line."""


class Cache(NamedTuple):
    """The words of this call, by hash in `entries` (a power of two), and their `rows`; `used` counts both."""

    entries: np.ndarray
    rows: np.ndarray
    used: np.ndarray


LONG = 256
"""Bytes of a word from which on its rows are not kept."""

MOST_CHARS = 64
"""Characters of the longest n-gram that a model may have."""

WORDS, ROWS = 1 << 15, 1 << 20
"""What a cache holds: both bound its memory, whatever the text."""

_ONE = np.uint64(1)
_WORDS_PRIME = np.uint64(116049371)


@piece
def _add_rows(total: np.ndarray, vectors: np.ndarray, rows: np.ndarray, first: int, last: int) -> None:
    """Add the vectors of `rows[first:last]` to `total`, one after the other."""
    i = first
    while i + 4 <= last:
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        for at in range(len(total)):
            total[at] = (((total[at] + vectors[a, at]) + vectors[b, at]) + vectors[c, at]) + vectors[d, at]
        i += 4
    while i < last:
        a = rows[i]
        for at in range(len(total)):
            total[at] += vectors[a, at]
        i += 1


@piece
def _place_of(entries: np.ndarray, data: np.ndarray, start: int, size: int, key: np.uint64) -> np.uint64:
    """Where a word stands in `entries`, or the empty place for it."""
    last = np.uint64(len(entries) - 1)
    place = key & last
    while entries[place].size > 0:
        # Two words of one length up to 8 never have the same hash64.
        if entries[place].key == key and entries[place].size == size:  # noqa: SIM102
            if size <= 8 or equal(data, start, data, entries[place].start, size):
                break
        place = (place + _ONE) & last
    return place


@piece
def _put_word(
    vocabulary: Vocabulary, data: np.ndarray, start: int, end: int, word: int, rows: np.ndarray, at: int
) -> int:
    """Write the rows of a word to `rows` from `at` on; returns where they end."""
    if word >= 0:
        rows[at] = word
        at += 1
    if vocabulary.max_chars > 0:
        for first in range(start - 1, end + 1):
            if begins_character(data, start, end, first):
                at = put_ngrams(vocabulary, data, start, end, first, rows, at)
    return at


@piece
def _enter(
    vocabulary: Vocabulary, cache: Cache, data: np.ndarray, start: int, end: int, key: np.uint64, place: np.uint64
) -> None:
    """Make a word's entry."""
    first = cache.used[1]
    last = first
    word = find(vocabulary, data, start, end, key)
    ignored = is_label(vocabulary, data, start, end, word)
    if not ignored:
        last = _put_word(vocabulary, data, start, end, word, cache.rows, first)
    entry = cache.entries[place]
    entry.key, entry.start, entry.size = key, start, end - start
    entry.first, entry.last = first, -1 if ignored else last
    entry.hash = np.int32(np.uint32(fnv(data, start, end)))
    cache.used[0] += 1
    cache.used[1] = last


@piece
def _cached(vocabulary: Vocabulary, cache: Cache, data: np.ndarray, start: int, end: int) -> np.uint64:
    """The place of the entry of a word of less than `LONG` bytes; a full cache is emptied first."""
    key = hash64(data, start, end)
    place = _place_of(cache.entries, data, start, end - start, key)
    if cache.entries[place].size > 0:
        return place
    most = 1 + (end - start + 2) * vocabulary.max_chars
    if 2 * cache.used[0] >= len(cache.entries) or cache.used[1] + most > len(cache.rows):
        for i in range(len(cache.entries)):
            cache.entries[i].size = 0
        cache.used[0], cache.used[1] = 0, 0
        place = _place_of(cache.entries, data, start, end - start, key)
    _enter(vocabulary, cache, data, start, end, key, place)
    return place


@piece
def _add_long_word(
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    data: np.ndarray,
    start: int,
    end: int,
    total: np.ndarray,
    rows: np.ndarray,
) -> int:
    """Add a word of any length, an n-gram's beginning at a time; returns how many rows, or -1 for a label."""
    word = find(vocabulary, data, start, end, hash64(data, start, end))
    if is_label(vocabulary, data, start, end, word):
        return -1
    rows[0] = word
    count = int(word >= 0)
    _add_rows(total, vectors, rows, 0, count)
    for at in range(start - 1, end + 1):
        if begins_character(data, start, end, at):
            more = put_ngrams(vocabulary, data, start, end, at, rows, 0)
            _add_rows(total, vectors, rows, 0, more)
            count += more
    return count


@piece
def _add_word_ngrams(
    vocabulary: Vocabulary, vectors: np.ndarray, hashes: np.ndarray, words: int, total: np.ndarray, rows: np.ndarray
) -> int:
    """Add the n-grams of a line's words, by the words' hashes (sign-extended, as in the library)."""
    count = 0
    for first in range(words):
        state = np.uint64(np.int64(hashes[first]))
        for i in range(first + 1, min(words, first + vocabulary.max_words)):
            state = state * _WORDS_PRIME + np.uint64(np.int64(hashes[i]))
            more = put_bucket(vocabulary, state, rows, 0)
            _add_rows(total, vectors, rows, 0, more)
            count += more
    return count


@piece
def _add_line(
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    data: np.ndarray,
    start: int,
    end: int,
    cache: Cache,
    total: np.ndarray,
    hashes: np.ndarray,
    rows: np.ndarray,
) -> int:
    """Add all rows of a line to `total`; returns how many."""
    count, words, at = 0, 0, start
    while at < end:
        if is_blank(data[at]):
            at += 1
            continue
        first, at = at, word_end(data, at, end)
        if is_end(data, first, at):
            break
        if at - first < LONG:
            entry = cache.entries[_cached(vocabulary, cache, data, first, at)]
            more = entry.last - entry.first
            _add_rows(total, vectors, cache.rows, entry.first, entry.last)
            value = entry.hash
        else:
            more = _add_long_word(vocabulary, vectors, data, first, at, total, rows)
            value = np.int32(np.uint32(fnv(data, first, at)))
        if more >= 0:
            count += more
            if len(hashes) > 0:
                hashes[words] = value
                words += 1
    rows[0] = vocabulary.end
    more = int(vocabulary.end >= 0)
    _add_rows(total, vectors, rows, 0, more)
    count += more
    if len(hashes) > 0:
        hashes[words] = vocabulary.end_hash
        count += _add_word_ngrams(vocabulary, vectors, hashes, words + 1, total, rows)
    return count


@kernel
def hidden_vectors(
    vocabulary: Vocabulary, vectors: np.ndarray, data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean vector of every line `data[starts[i]:ends[i]]`: (float32[n, columns of `vectors`], rows of it int64[n]).

    A newline within a line is white space; `</s>` is added at its end, as the library's `predict` does. A line
    without rows has a vector of zeros.
    """
    totals = np.zeros((len(starts), vectors.shape[1]), np.float32)
    counts = np.zeros(len(starts), np.int64)
    cache = Cache(np.zeros(2 * WORDS, ENTRY), np.empty(ROWS, np.int32), np.zeros(2, np.int64))
    longest = 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    hashes = np.empty(longest // 2 + 2 if vocabulary.max_words > 1 else 0, np.int32)
    scratch = np.empty(MOST_CHARS + 1, np.int32)
    for i in range(len(starts)):
        total = totals[i]
        counts[i] = _add_line(vocabulary, vectors, data, starts[i], ends[i], cache, total, hashes, scratch)
        if counts[i] > 0:
            share = np.float32(1.0 / counts[i])
            for column in range(len(total)):
                total[column] *= share
    return totals, counts
