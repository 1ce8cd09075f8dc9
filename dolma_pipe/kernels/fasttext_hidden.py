"""fastText's hidden layer: the mean of the vectors of a line's words, character n-grams and word n-grams.

Rows are added in the library's order, in float32, one after the other. Anything else, more exact or not, differs from
its scores by more than 1e-5 on real documents of a megabyte (measured: adding up a word's rows first, which would be
faster, gives 1.4e-4 with lid.176). What is faster here: the rows of a word are looked up once per call, since words
repeat, and rows are added many at a time.
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


class Line(NamedTuple):
    """A line being measured: the `total` of its vectors, and rows that wait to be added to it.

    `counts`: how many wait, how many were added, and how many `hashes` of words there are (none are kept where the
    model has no word n-grams).
    """

    total: np.ndarray
    waiting: np.ndarray
    counts: np.ndarray
    hashes: np.ndarray


LONG = 64
"""Bytes of a word from which on its rows are not kept."""

MOST_CHARS = 64
"""Characters of the longest n-gram that a model may have."""

WORDS, ROWS = 1 << 15, 1 << 20
"""What a cache holds: both bound its memory, whatever the text."""

WAITING = 1 << 13
"""Rows that may wait: more than a word of less than `LONG` bytes can have."""

_WAITING, _ADDED, _HASHES = range(3)
_ONE = np.uint64(1)
_WORDS_PRIME = np.uint64(116049371)


@piece
def _add_waiting(line: Line, vectors: np.ndarray) -> None:
    """Add the vectors of the rows that wait, one after the other."""
    total, rows, count = line.total, line.waiting, line.counts[_WAITING]
    i = 0
    while i + 4 <= count:
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        for at in range(len(total)):
            total[at] = (((total[at] + vectors[a, at]) + vectors[b, at]) + vectors[c, at]) + vectors[d, at]
        i += 4
    while i < count:
        a = rows[i]
        for at in range(len(total)):
            total[at] += vectors[a, at]
        i += 1
    line.counts[_WAITING] = 0
    line.counts[_ADDED] += count


@piece
def _make_room(line: Line, vectors: np.ndarray, more: int) -> None:
    if line.counts[_WAITING] + more > len(line.waiting):
        _add_waiting(line, vectors)


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
def _enter(
    vocabulary: Vocabulary, cache: Cache, data: np.ndarray, start: int, end: int, key: np.uint64, place: np.uint64
) -> None:
    """Make a word's entry."""
    first = cache.used[1]
    last = first
    word = find(vocabulary, data, start, end, key)
    ignored = is_label(vocabulary, data, start, end, word)
    if word >= 0 and not ignored:
        cache.rows[last] = word
        last += 1
    if vocabulary.max_chars > 0 and not ignored:
        for at in range(start - 1, end + 1):
            if begins_character(data, start, end, at):
                last = put_ngrams(vocabulary, data, start, end, at, cache.rows, last)
    entry = cache.entries[place]
    entry.key, entry.start, entry.size = key, start, end - start
    entry.first, entry.last = first, -1 if ignored else last
    entry.hash = np.int32(np.uint32(fnv(data, start, end)))
    cache.used[0] += 1
    cache.used[1] = last


@piece
def _is_full(vocabulary: Vocabulary, cache: Cache, size: int) -> bool:
    """Whether there may be no room for a word of `size` bytes."""
    most = 1 + (size + 2) * vocabulary.max_chars
    return 2 * cache.used[0] >= len(cache.entries) or cache.used[1] + most > len(cache.rows)


@piece
def _read_word(
    vocabulary: Vocabulary, vectors: np.ndarray, data: np.ndarray, start: int, end: int, cache: Cache, line: Line
) -> None:
    """Let the rows of a word of less than `LONG` bytes wait."""
    key = hash64(data, start, end)
    place = _place_of(cache.entries, data, start, end - start, key)
    if cache.entries[place].size == 0:
        if _is_full(vocabulary, cache, end - start):
            for i in range(len(cache.entries)):
                cache.entries[i].size = 0
            cache.used[:] = 0
            place = key & np.uint64(len(cache.entries) - 1)
        _enter(vocabulary, cache, data, start, end, key, place)
    entry = cache.entries[place]
    if entry.last < 0:
        return
    _make_room(line, vectors, entry.last - entry.first)
    count = line.counts[_WAITING]
    for i in range(entry.first, entry.last):
        line.waiting[count] = cache.rows[i]
        count += 1
    line.counts[_WAITING] = count
    if len(line.hashes) > 0:
        line.hashes[line.counts[_HASHES]] = entry.hash
        line.counts[_HASHES] += 1


@piece
def _read_long_word(
    vocabulary: Vocabulary, vectors: np.ndarray, data: np.ndarray, start: int, end: int, line: Line
) -> None:
    """Let the rows of a word of any length wait, as many at a time as there is room for."""
    word = find(vocabulary, data, start, end, hash64(data, start, end))
    if is_label(vocabulary, data, start, end, word):
        return
    _make_room(line, vectors, 1)
    line.waiting[line.counts[_WAITING]] = word
    line.counts[_WAITING] += word >= 0
    for first in range(start - 1, end + 1):
        if vocabulary.max_chars > 0 and begins_character(data, start, end, first):
            _make_room(line, vectors, MOST_CHARS)
            count = line.counts[_WAITING]
            line.counts[_WAITING] = put_ngrams(vocabulary, data, start, end, first, line.waiting, count)
    if len(line.hashes) > 0:
        line.hashes[line.counts[_HASHES]] = np.int32(np.uint32(fnv(data, start, end)))
        line.counts[_HASHES] += 1


@piece
def _read_word_ngrams(vocabulary: Vocabulary, vectors: np.ndarray, line: Line) -> None:
    """Let the rows of the n-grams of a line's words wait; the words' hashes are sign-extended, as in the library."""
    buckets = np.uint64(vocabulary.buckets)
    words = line.counts[_HASHES]
    for first in range(words):
        state = np.uint64(np.int64(line.hashes[first]))
        for i in range(first + 1, min(words, first + vocabulary.max_words)):
            state = state * _WORDS_PRIME + np.uint64(np.int64(line.hashes[i]))
            _make_room(line, vectors, 1)
            count = line.counts[_WAITING]
            line.counts[_WAITING] = put_bucket(vocabulary, int(np.int64(state % buckets)), line.waiting, count)


@piece
def _read_line(
    vocabulary: Vocabulary, vectors: np.ndarray, data: np.ndarray, start: int, end: int, cache: Cache, line: Line
) -> None:
    at = start
    while at < end:
        if is_blank(data[at]):
            at += 1
            continue
        first, at = at, word_end(data, at, end)
        if is_end(data, first, at):
            break
        if at - first < LONG:
            _read_word(vocabulary, vectors, data, first, at, cache, line)
        else:
            _read_long_word(vocabulary, vectors, data, first, at, line)
    _make_room(line, vectors, 1)
    line.waiting[line.counts[_WAITING]] = vocabulary.end
    line.counts[_WAITING] += vocabulary.end >= 0
    if len(line.hashes) > 0:
        line.hashes[line.counts[_HASHES]] = vocabulary.end_hash
        line.counts[_HASHES] += 1
        _read_word_ngrams(vocabulary, vectors, line)
    _add_waiting(line, vectors)


@kernel
def _fill(
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cache: Cache,
    line: Line,
    totals: np.ndarray,
    added: np.ndarray,
) -> None:
    """Write each line's mean vector and its number of rows; `line` is scratch."""
    total = line.total
    for i in range(len(starts)):
        for column in range(len(total)):
            total[column] = 0
        line.counts[_ADDED] = line.counts[_HASHES] = 0
        _read_line(vocabulary, vectors, data, starts[i], ends[i], cache, line)
        added[i] = line.counts[_ADDED]
        if added[i] > 0:
            share = np.float32(1.0 / added[i])
            for column in range(len(total)):
                totals[i, column] = total[column] * share


def hidden_vectors(
    vocabulary: Vocabulary, vectors: np.ndarray, data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean vector of every line `data[starts[i]:ends[i]]`: (float32[n, columns of `vectors`], rows of it int64[n]).

    A newline within a line is white space; `</s>` is added at its end, as the library's `predict` does. A line
    without rows has a vector of zeros.
    """
    size = vectors.shape[1]
    totals, added = np.zeros((len(starts), size), np.float32), np.zeros(len(starts), np.int64)
    longest = int((ends - starts).max(initial=0))
    words = longest // 2 + 2 if vocabulary.max_words > 1 else 0
    # Arrays are made here and not in the kernel, which would take seconds more to compile.
    cache = Cache(np.zeros(2 * WORDS, ENTRY), np.empty(ROWS, np.int32), np.zeros(2, np.int64))
    line = Line(
        np.zeros(size, np.float32), np.empty(WAITING, np.int32), np.zeros(3, np.int64), np.empty(words, np.int32)
    )
    _fill(vocabulary, vectors, data, starts, ends, cache, line, totals, added)
    return totals, added
