"""What lines are made of (upper case, digits, words) and the phrases of navigation in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.marks import Marks, words_between
from dolma_pipe.kernels.utf8 import chars_between, code_point_at

_SIGN_IN = np.frombuffer(b"sign-in", np.uint8)
_READ_MORE = np.frombuffer(b"read more", np.uint8)
_ITEMS_IN_CART = np.frombuffer(b"items in cart", np.uint8)


@cache
def bitmap_of(has: Callable[[str], bool]) -> np.ndarray:
    """uint8[139264]: bit `code % 8` of byte `code // 8` says `has(chr(code))`; `str.isupper`, `str.isdigit` ..."""
    return np.packbits(np.fromiter(map(has, map(chr, range(0x110000))), np.bool_, 0x110000), bitorder="little")


@piece
def is_in(bitmap: np.ndarray, code: int) -> bool:
    return bitmap[code >> 3] >> (code & 7) & 1 != 0


@kernel
def line_signals(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, marks: Marks, upper: np.ndarray, digits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per line: code points that are upper case, that are digits (by their bitmaps), and words: int32[m] each."""
    cased, numeric = np.zeros(len(starts), np.int32), np.zeros(len(starts), np.int32)
    words = np.empty(len(starts), np.int32)
    for line in range(len(starts)):
        at, end = starts[line], ends[line]
        words[line] = words_between(marks, at, end)
        while at < end:
            byte = data[at]
            if byte < 0x80:
                cased[line] += 0x41 <= byte <= 0x5A
                numeric[line] += 0x30 <= byte <= 0x39
                at += 1
            else:
                code, width = code_point_at(data, at)
                cased[line] += is_in(upper, code)
                numeric[line] += is_in(digits, code)
                at += width
    return cased, numeric, words


@piece
def _spells(data: np.ndarray, at: int, end: int, phrase: np.ndarray) -> bool:
    """Whether `phrase` (in lower case) begins at `at`, in any case."""
    if at + len(phrase) > end:
        return False
    for i in range(len(phrase)):
        byte = data[at + i]
        if byte != phrase[i] and not (0x41 <= byte <= 0x5A and byte + 0x20 == phrase[i]):
            return False
    return True


@piece
def _dots_before(data: np.ndarray, start: int, end: int) -> int:
    """Where the `...` or `…` that ends `data[start:end]` begins, or -1."""
    if end - start >= 3:
        first, second, third = data[end - 3], data[end - 2], data[end - 1]
        if (first == 0x2E and second == 0x2E and third == 0x2E) or (first == 0xE2 and second == 0x80 and third == 0xA6):
            return end - 3
    return -1


@piece
def _phrase(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """(start, end) of the phrase of navigation in a line without outer white space, or (-1, -1)."""
    if _spells(data, start, end, _SIGN_IN):
        return start, start + len(_SIGN_IN)
    dots = _dots_before(data, start, end)
    if dots - len(_READ_MORE) >= start and _spells(data, dots - len(_READ_MORE), end, _READ_MORE):
        return dots - len(_READ_MORE), end
    for at in range(start, end - len(_ITEMS_IN_CART) + 1):
        if _spells(data, at, end, _ITEMS_IN_CART):
            return at, at + len(_ITEMS_IN_CART)
    return -1, -1


@kernel
def navigation(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in each line `data[starts[i]:ends[i]]`, outer white space left out, a phrase of navigation begins and ends.

    These are `sign-in` at the beginning, `read more...` at the end, `items in cart` anywhere: int64[n] each, -1 if
    none.
    """
    froms, tos = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    for i in range(len(starts)):
        froms[i], tos[i] = _phrase(data, starts[i], ends[i])
    return froms, tos


@kernel
def chars_in(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Code points of every range: int64[n]."""
    counts = np.empty(len(starts), np.int64)
    for i in range(len(starts)):
        counts[i] = chars_between(data, starts[i], ends[i])
    return counts
