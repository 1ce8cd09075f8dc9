"""One pass over JSON lines that finds those a fast decoder would accept and should not.

A decoder keeps one of two repeated keys and lets a lone surrogate escape pass
in a field that it skips. Lines this kernel marks are looked at again, slowly;
it may mark too many (two keys with one hash), never too few.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import load64

QUOTE, BACKSLASH, COMMA = 34, 92, 44
OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST = 123, 125, 91, 93
MAX_KEYS, MAX_DEPTH = 512, 64

_ONES, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)


@piece
def _plain_until(data: np.ndarray, i: int, end: int) -> int:
    """The first position from `i` whose eight bytes hold a quote or a backslash: string content is skipped by words."""
    while i + 8 <= end:
        word = load64(data, i)
        quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
        found = ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes)
        if (found & _HIGH_BITS) != np.uint64(0):
            return i
        i += 8
    return i


@piece
def _surrogate(data: np.ndarray, i: int, end: int) -> int:
    """The surrogate code unit of an escape that starts at `i` (a backslash), else 0."""
    if i + 6 > end or data[i] != 92 or data[i + 1] != 117 or (data[i + 2] | 32) != 100:
        return 0
    value = 0
    for j in range(i + 2, i + 6):
        digit = np.int64(data[j])
        value = value * 16 + (digit - 48 if digit < 58 else (digit | 32) - 87)
    return value if 0xD800 <= value <= 0xDFFF else 0


@piece
def _lone_surrogate_length(data: np.ndarray, i: int, end: int) -> int:
    """Bytes of the escape at `i`; negative when it is a surrogate without its other half."""
    unit = _surrogate(data, i, end)
    if unit == 0:
        return 2
    if unit >= 0xDC00:
        return -6
    return 12 if _surrogate(data, i + 6, end) >= 0xDC00 else -6


@kernel
def suspicious_lines(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Per line: may it hold a repeated key, an escaped key or a lone surrogate escape? `data` is uint8."""
    marked = np.zeros(len(starts), np.bool_)
    keys = np.empty(MAX_KEYS, np.uint64)
    first_key = np.zeros(MAX_DEPTH, np.int64)
    is_object = np.zeros(MAX_DEPTH, np.bool_)
    for line in range(len(starts)):
        i, end = starts[line], ends[line]
        depth, key_count, expect_key = 0, 0, False
        while i < end and not marked[line]:
            byte = data[i]
            i += 1
            if byte == QUOTE:
                key = np.uint64(14695981039346656037)
                if not expect_key:
                    i = _plain_until(data, i, end)
                while i < end and data[i] != QUOTE:
                    if data[i] == BACKSLASH:
                        step = _lone_surrogate_length(data, i, end)
                        marked[line] |= step < 0 or expect_key
                        i += abs(step)
                        if not expect_key:
                            i = _plain_until(data, i, end)
                        continue
                    if expect_key:
                        key = (key ^ np.uint64(data[i])) * np.uint64(1099511628211)
                    i += 1
                i += 1
                if expect_key:
                    expect_key = False
                    for k in range(first_key[depth], key_count):
                        marked[line] |= keys[k] == key
                    if key_count == MAX_KEYS:
                        marked[line] = True
                    else:
                        keys[key_count] = key
                        key_count += 1
            elif byte in (OPEN_OBJECT, OPEN_LIST):
                depth += 1
                if depth == MAX_DEPTH:
                    marked[line] = True
                    break
                is_object[depth] = byte == OPEN_OBJECT
                first_key[depth] = key_count
                expect_key = byte == OPEN_OBJECT
            elif byte in (CLOSE_OBJECT, CLOSE_LIST):
                if depth > 0:
                    key_count = first_key[depth]
                    depth -= 1
                expect_key = False
            elif byte == COMMA:
                expect_key = is_object[depth] and depth > 0
    return marked
