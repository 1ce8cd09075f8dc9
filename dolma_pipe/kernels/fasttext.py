"""fastText's features: what a word is, which one it is, and the rows of its character n-grams.

Joulin et al. 2016 ("Bag of Tricks for Efficient Text Classification"); Bojanowski et al. 2017 for the character
n-grams. Decision for decision what the library does: white space is the space, \\t \\n \\v \\f \\r and NUL, no other;
words that begin with `__label__` are ignored; an n-gram counts characters of `<word>`, and its row is that of its
32-bit hash's bucket, if the model kept that one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import hash64, load64


class Vocabulary(NamedTuple):
    """A model's words and n-grams.

    Word i is `text[bounds[i]:bounds[i + 1]]`; those from `words` on are labels. `slots` (a power of two of them, -1 is
    empty) finds a word by its hash. `end` is the number of `</s>`, or -1, and `end_hash` its hash. `kept[bucket]` is
    the row of a bucket, counted from the last word's, or -1; when `kept` is empty, every bucket has its own. Character
    n-grams have `min_chars` to `max_chars` characters (none when that is 0), word n-grams up to `max_words` words.
    """

    text: np.ndarray
    bounds: np.ndarray
    slots: np.ndarray
    words: int
    end: int
    end_hash: int
    kept: np.ndarray
    buckets: int
    min_chars: int
    max_chars: int
    max_words: int


_BLANKS = np.uint64(sum(1 << code for code in (0x00, *range(0x09, 0x0E), 0x20)))
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ABOVE_SPACE = np.uint64(0x2121212121212121)
_ZERO, _ONE, _SEVEN = np.uint64(0), np.uint64(1), np.uint64(7)
_BASIS, _PRIME, _LOW = np.uint64(2166136261), np.uint64(16777619), np.uint64(0xFFFFFFFF)
_SIGN = np.uint64(0xFFFFFF00)
_END = np.frombuffer(b"</s>", np.uint8)
_LABEL = np.frombuffer(b"__label__", np.uint8)


@piece
def is_blank(byte: int) -> bool:
    return byte <= 0x20 and (_BLANKS >> np.uint64(byte)) & _ONE != _ZERO


@piece
def word_end(data: np.ndarray, start: int, end: int) -> int:
    """Position of the first white space in `data[start:end]`, or `end`."""
    at = start
    while at < end:
        if at + 8 <= end:
            word = load64(data, at)
            stops = (word - _ABOVE_SPACE) & ~word & _HIGH_BITS  # the lowest bit is exact: the first byte below 0x21
            if stops == _ZERO:
                at += 8
                continue
            before = (stops & (~stops + _ONE)) - _ONE
            at += int(np.int64((((before & _HIGH_BITS) >> _SEVEN) * _ONES) >> np.uint64(56)))
        if is_blank(data[at]):
            break
        at += 1
    return at


@piece
def equal(data: np.ndarray, start: int, other: np.ndarray, at: int, size: int) -> bool:
    for i in range(size):  # noqa: SIM110
        if data[start + i] != other[at + i]:
            return False
    return True


@piece
def _add_byte(state: np.uint64, byte: int) -> np.uint64:
    """One step of FNV-1a in 32 bits; bytes from 0x80 on are negative, as in the models that were published."""
    value = np.uint64(byte)
    return ((state ^ (value | _SIGN if byte >= 0x80 else value)) * _PRIME) & _LOW


@piece
def fnv(data: np.ndarray, start: int, end: int) -> np.uint64:
    state = _BASIS
    for at in range(start, end):
        state = _add_byte(state, data[at])
    return state


@piece
def find(vocabulary: Vocabulary, data: np.ndarray, start: int, end: int, key: np.uint64) -> int:
    """The number of a word or label, or -1."""
    last = np.uint64(len(vocabulary.slots) - 1)
    slot = key & last
    while vocabulary.slots[slot] >= 0:
        found = int(vocabulary.slots[slot])
        first = vocabulary.bounds[found]
        if vocabulary.bounds[found + 1] - first == end - start:  # noqa: SIM102
            if equal(data, start, vocabulary.text, first, end - start):
                return found
        slot = (slot + _ONE) & last
    return -1


@kernel
def index_words(text: np.ndarray, bounds: np.ndarray, slots: np.ndarray) -> None:
    """Fill `slots` (int32, -1 everywhere, a power of two and longer than the words) for `Vocabulary`."""
    last = np.uint64(len(slots) - 1)
    for word in range(len(bounds) - 2, -1, -1):  # of two equal words, the library finds the later one
        slot = hash64(text, bounds[word], bounds[word + 1]) & last
        while slots[slot] >= 0:
            slot = (slot + _ONE) & last
        slots[slot] = word


@piece
def put_bucket(vocabulary: Vocabulary, bucket: int, rows: np.ndarray, count: int) -> int:
    """Write the row of an n-gram's bucket, if it has one, to `rows[count]`; returns the new count."""
    if len(vocabulary.kept) > 0:
        bucket = int(vocabulary.kept[bucket])
        if bucket < 0:
            return count
    rows[count] = vocabulary.words + bucket
    return count + 1


@piece
def put_ngrams(
    vocabulary: Vocabulary, data: np.ndarray, start: int, end: int, first: int, rows: np.ndarray, count: int
) -> int:
    """Append the rows of the character n-grams of `<word>` that begin at `first` (`start - 1` is the `<`)."""
    at, chars, state = first, 0, _BASIS
    while at <= end and chars < vocabulary.max_chars:
        state = _add_byte(state, 0x3C if at < start else 0x3E if at == end else data[at])
        at += 1
        while start <= at < end and data[at] & 0xC0 == 0x80:
            state = _add_byte(state, data[at])
            at += 1
        chars += 1
        if chars >= vocabulary.min_chars and not (chars == 1 and (first < start or at > end)):
            bucket = np.uint32(state) % np.uint32(vocabulary.buckets)
            count = put_bucket(vocabulary, int(np.int64(bucket)), rows, count)
    return count


@piece
def begins_character(data: np.ndarray, start: int, end: int, at: int) -> bool:
    """Whether a character of `<word>` begins at `at`, from `start - 1` to `end`."""
    return at < start or at == end or data[at] & 0xC0 != 0x80


@piece
def is_label(vocabulary: Vocabulary, data: np.ndarray, start: int, end: int, word: int) -> bool:
    if word >= 0:
        return word >= vocabulary.words
    return end - start >= 9 and equal(data, start, _LABEL, 0, 9)


@piece
def is_end(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a word is `</s>`, which ends a line wherever it stands."""
    return end - start == 4 and equal(data, start, _END, 0, 4)


def word_hash(word: bytes) -> int:
    """A word's 32-bit hash, as the signed number that n-grams of words are made of; outside of kernels."""
    state = int(_BASIS)
    for byte in word:
        state = ((state ^ (byte | int(_SIGN) if byte >= 0x80 else byte)) * int(_PRIME)) & int(_LOW)
    return state - (1 << 32) if state >= 1 << 31 else state
