"""What Gopher's quality rules ask about words: letters, symbols, stop words, lengths."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.alphabetic import has_letter
from dolma_pipe.kernels.hashing import load64, load_tail

STOP_WORDS = (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")
"""Rae et al. 2021, A1.1; the order of the bits below."""

(
    CHARACTERS, LETTERED, HASHES, ELLIPSES, SYMBOLS, STOPS, EXACT_STOPS, STOP_OCCURRENCES, FOLDED_STOP_OCCURRENCES,
    WORDLIKE, WORDLIKE_CHARACTERS, ROWS,
) = range(12)  # fmt: skip
"""Rows of what `word_signals` returns."""

_THE, _BE, _TO, _OF, _AND, _THAT, _HAVE, _WITH = (np.uint64(int.from_bytes(word, "little")) for word in STOP_WORDS)
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_HASH_SIGNS = np.uint64(0x2323232323232323)
_DOTS = np.uint64(0x2E2E2E2E2E2E2E2E)
_E2S = np.uint64(0xE2E2E2E2E2E2E2E2)  # the first byte of U+2026
_CASE = np.uint64(0x2020202020202020)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_SHORT = 256


@piece
def first_bytes(data: np.ndarray, start: int, end: int) -> np.uint64:
    """The first eight bytes of a word as a little-endian word, padded with zeros."""
    if end - start >= 8:
        return load64(data, start)
    return load_tail(data, start, end - start)


@piece
def _zero_bytes(word: np.uint64) -> np.uint64:
    """Not 0 where the word holds a zero byte."""
    return (word - _ONES) & ~word & _HIGH_BITS


@piece
def _may_hold_symbol(word: np.uint64) -> bool:
    """False when none of the eight bytes is `#`, `.` or the first of `…`."""
    return (_zero_bytes(word ^ _HASH_SIGNS) | _zero_bytes(word ^ _DOTS) | _zero_bytes(word ^ _E2S)) != _ZERO


@piece
def _count_symbols(data: np.ndarray, start: int, end: int) -> tuple[int, int, bool]:
    """(`#`, ellipses, whether there is a `#` or a `…`) of a word; `...` counts as `str.count` has it."""
    hashes, ellipses, dots, symbol = 0, 0, 0, False
    for at in range(start, end):
        byte = data[at]
        dots = dots + 1 if byte == 0x2E else 0
        if byte == 0x23:
            hashes, symbol = hashes + 1, True
        elif dots == 3:
            ellipses, dots = ellipses + 1, 0
        elif byte == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA6:
            ellipses, symbol = ellipses + 1, True
    return hashes, ellipses, symbol


@piece
def _stop_word(word: np.uint64, size: int) -> int:
    """Which of `STOP_WORDS` the lower-case word is, or -1."""
    if size == 2:
        return 1 if word == _BE else 2 if word == _TO else 3 if word == _OF else -1
    if size == 3:
        return 0 if word == _THE else 4 if word == _AND else -1
    if size == 4:
        return 5 if word == _THAT else 6 if word == _HAVE else 7 if word == _WITH else -1
    return -1


@piece
def _bits(mask: int) -> int:
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@piece
def _add_symbols(data: np.ndarray, start: int, end: int, word: np.uint64, found: np.ndarray, document: int) -> None:
    suspect = _may_hold_symbol(word)
    at = start + 8
    while not suspect and at < end:
        suspect = _may_hold_symbol(first_bytes(data, at, end))
        at += 8
    if suspect:
        hashes, ellipses, symbol = _count_symbols(data, start, end)
        found[HASHES, document] += hashes
        found[ELLIPSES, document] += ellipses
        found[SYMBOLS, document] += symbol


@kernel
def word_signals(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    chars: np.ndarray,
    offsets: np.ndarray,
    letters: np.ndarray,
    wordlike: np.ndarray,
) -> np.ndarray:
    """Sums over each document's words: int64[ROWS, n].

    CHARACTERS code points; LETTERED words with a letter; HASHES `#`; ELLIPSES `...` and `…`; SYMBOLS words with a `#`
    or `…`; STOPS distinct stop words in any case; EXACT_STOPS the same in lower case; STOP_OCCURRENCES all of those,
    FOLDED_STOP_OCCURRENCES of those in any case; WORDLIKE words with a code point of that set (letters are in it), and
    their characters. `letters` and `wordlike` are bitmaps.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        stops, exact, characters, lettered, plain, plain_characters = 0, 0, 0, 0, 0, 0
        for i in range(offsets[document], offsets[document + 1]):
            start, end = starts[i], ends[i]
            size = end - start
            word = first_bytes(data, start, end)
            characters += chars[i]
            letter = (word & np.uint64(0xDF)) - np.uint64(0x41) < np.uint64(26)
            letter = letter or has_letter(data, start, end, letters)
            lettered += letter
            if letter or has_letter(data, start, end, wordlike):
                plain += 1
                plain_characters += chars[i]
            _add_symbols(data, start, end, word, found, document)
            if size <= 4:
                folded = word | (_CASE & ((_ONE << np.uint64(8 * size)) - _ONE))
                which = _stop_word(folded, size)
                if which >= 0:
                    stops |= 1 << which
                    found[FOLDED_STOP_OCCURRENCES, document] += 1
                    if word == folded:
                        exact |= 1 << which
                        found[STOP_OCCURRENCES, document] += 1
        found[CHARACTERS, document], found[LETTERED, document] = characters, lettered
        found[WORDLIKE, document], found[WORDLIKE_CHARACTERS, document] = plain, plain_characters
        found[STOPS, document], found[EXACT_STOPS, document] = _bits(stops), _bits(exact)
    return found


@piece
def _nth_short(histogram: np.ndarray, rank: int) -> int:
    """The length of rank `rank` (0-based) by a histogram of lengths; its size when it is longer than all of them."""
    seen = 0
    for length in range(len(histogram)):
        seen += histogram[length]
        if rank < seen:
            return length
    return len(histogram)


@piece
def _nth_long(chars: np.ndarray, first: int, last: int, rank: int) -> int:
    """The length of rank `rank` among `chars[first:last]`, by halving the range of lengths: for rare lengths."""
    low, high = 0, 0x7FFFFFFF
    while low < high:
        middle = (low + high) // 2
        seen = 0
        for i in range(first, last):
            seen += chars[i] <= middle
        if seen > rank:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def median_lengths(chars: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Median word length in code points of each document, mean of the two middle ones; 0 without words: float64[n]."""
    medians = np.zeros(len(offsets) - 1)
    histogram = np.zeros(_SHORT, np.int64)
    for document in range(len(medians)):
        first, last = offsets[document], offsets[document + 1]
        if first == last:
            continue
        for length in range(_SHORT):
            histogram[length] = 0
        for i in range(first, last):
            if chars[i] < _SHORT:
                histogram[chars[i]] += 1
        for rank in ((last - first - 1) // 2, (last - first) // 2):
            length = _nth_short(histogram, rank)
            medians[document] += (length if length < _SHORT else _nth_long(chars, first, last, rank)) / 2
    return medians
