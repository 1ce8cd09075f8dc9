"""Rows of CSV as bytes: numbers, a string, and a string that many rows share."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece

_COMMA, _QUOTE, _RETURN, _NEWLINE, _ZERO = 44, 34, 13, 10, 48
_DIGITS = 20


@kernel
def place_rows(
    starts: np.ndarray,
    ends: np.ndarray,
    names: np.ndarray,
    name_offsets: np.ndarray,
    shared: np.ndarray,
    shared_offsets: np.ndarray,
    codes: np.ndarray,
    lines: np.ndarray,
) -> np.ndarray:
    """uint8: `start,end,name,shared,line` and CRLF for every row; the numbers are not negative.

    Row i has the name `names[name_offsets[i]:name_offsets[i + 1]]`, quoted where it has to be, and item `codes[i]` of
    `shared` as it is.
    """  # fmt: skip
    longest = 0
    for i in range(len(shared_offsets) - 1):
        longest = max(longest, shared_offsets[i + 1] - shared_offsets[i])
    size = 2 * (name_offsets[-1] - name_offsets[0]) + len(starts) * (3 * _DIGITS + longest + 8)
    out = np.empty(size, np.uint8)
    at = 0
    for i in range(len(starts)):
        at = _put_number(starts[i], out, at)
        at = _put(_COMMA, out, at)
        at = _put_number(ends[i], out, at)
        at = _put(_COMMA, out, at)
        at = _put_name(names, name_offsets[i], name_offsets[i + 1], out, at)
        at = _put(_COMMA, out, at)
        for j in range(shared_offsets[codes[i]], shared_offsets[codes[i] + 1]):
            at = _put(shared[j], out, at)
        at = _put(_COMMA, out, at)
        at = _put_number(lines[i], out, at)
        at = _put(_RETURN, out, at)
        at = _put(_NEWLINE, out, at)
    return out[:at]


@piece
def _put(byte: int, out: np.ndarray, at: int) -> int:
    out[at] = byte
    return at + 1


@piece
def _put_number(number: int, out: np.ndarray, at: int) -> int:
    digits, rest = 1, number // 10
    while rest > 0:
        digits, rest = digits + 1, rest // 10
    for i in range(digits - 1, -1, -1):
        out[at + i] = _ZERO + number % 10
        number //= 10
    return at + digits


@piece
def _put_name(names: np.ndarray, start: int, end: int, out: np.ndarray, at: int) -> int:
    """Python's `csv.QUOTE_MINIMAL`: in quotes where it holds a comma, a quote or a line's end, with quotes doubled."""
    special = False
    for i in range(start, end):
        byte = names[i]
        special |= (byte == _COMMA) | (byte == _QUOTE) | (byte == _RETURN) | (byte == _NEWLINE)
        out[at + i - start] = byte
    if not special:
        return at + end - start
    at = _put(_QUOTE, out, at)
    for i in range(start, end):
        if names[i] == _QUOTE:
            at = _put(_QUOTE, out, at)
        at = _put(names[i], out, at)
    return _put(_QUOTE, out, at)
