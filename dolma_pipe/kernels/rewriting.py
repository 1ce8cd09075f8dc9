"""JSON lines with another text in them; every other byte stays as it is."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.masks import WIDTH, copy64, equal, first, most

_QUOTE, _BACKSLASH, _COLON = 34, 92, 58
_ESCAPES = np.zeros(256, np.uint8)
"""The letter behind the backslash for a byte; 1 where it is `u00` and two digits, 0 where none is needed."""
_ESCAPES[:32] = 1
_ESCAPES[list(b'"\\\b\f\n\r\t')] = list(b'"\\bfnrt')
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
_NAME = np.frombuffer(b"text", np.uint8).copy()


@piece
def _closing(data: np.ndarray, at: int) -> int:
    """The quote that ends the string from `at` on."""
    while True:
        found = equal(data, at, _QUOTE) | equal(data, at, _BACKSLASH)
        at += first(found) if found else WIDTH
        if found:
            if data[at] == _QUOTE:
                return at
            at += 2


@piece
def _solid(data: np.ndarray, at: int, end: int) -> int:
    """The first byte from `at` on that is no white space."""
    while at < end and data[at] <= 32:
        at += 1
    return at


@piece
def _names_text(data: np.ndarray, start: int, end: int) -> int:
    """1 where the key `data[start:end]` is "text", 0 where it is not, -1 where an escape in it hides that."""
    same = end - start == len(_NAME)
    for i in range(start, end):
        if data[i] == _BACKSLASH:
            return -1
        if same and data[i] != _NAME[i - start]:
            same = False
    return 1 if same else 0


@piece
def _text_value(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """Where the string lies, quotes included, that is the text of the document `data[at:end]`; (-1, -1) if unsure."""
    depth = 0
    while at < end:
        byte = data[at]
        if byte == _QUOTE:
            close = _closing(data, at + 1)
            after = _solid(data, close + 1, end)
            if depth == 1 and after < end and data[after] == _COLON:
                found = _names_text(data, at + 1, close)
                value = _solid(data, after + 1, end)
                if found < 0 or (found == 1 and data[value] != _QUOTE):
                    return -1, -1
                if found == 1:
                    return value, _closing(data, value + 1) + 1
            at = close
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            depth -= 1
        at += 1
    return -1, -1


@piece
def _put_byte(byte: int, out: np.ndarray, to: int) -> int:
    """Write one byte of a string as JSON has it; the position behind it."""
    letter = _ESCAPES[byte]
    if letter == 0:
        out[to] = byte
        return to + 1
    out[to] = _BACKSLASH
    if letter > 1:
        out[to + 1] = letter
        return to + 2
    out[to + 1], out[to + 2], out[to + 3] = 117, 48, 48
    out[to + 4], out[to + 5] = _DIGITS[byte >> 4], _DIGITS[byte & 15]
    return to + 6


@piece
def _put_escaped(texts: np.ndarray, start: int, end: int, out: np.ndarray, to: int) -> int:
    """Write a text as JSON has it, without quotes; the position behind it. Up to 64 bytes more may be written."""
    while start < end:
        if start + WIDTH > len(texts):
            to = _put_byte(texts[start], out, to)
            start += 1
            continue
        copy64(texts, start, out, to)
        found = equal(texts, start, _QUOTE) | equal(texts, start, _BACKSLASH) | most(texts, start, 0x1F)
        size = min(first(found) if found else WIDTH, end - start)
        start, to = start + size, to + size
        if found and start < end:
            to = _put_byte(texts[start], out, to)
            start += 1
    return to


@kernel
def put_texts(
    raw: np.ndarray, starts: np.ndarray, ends: np.ndarray, texts: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`raw`, and behind it its documents `raw[starts[i]:ends[i]]` with other texts, `texts[bounds[i]:bounds[i + 1]]`.

    Returns the bytes and the int64[n + 1] bounds of the new lines; no bounds where a document's text cannot be found,
    since a key of it is written with escapes.
    """
    size = len(raw) + 6 * (bounds[-1] - bounds[0]) + WIDTH
    for i in range(len(starts)):
        size += ends[i] - starts[i] + 2
    out = np.empty(size, np.uint8)
    out[: len(raw)] = raw
    lines = np.empty(len(starts) + 1, np.int64)
    to = len(raw)
    lines[0] = to
    for i in range(len(starts)):
        first, last = _text_value(raw, starts[i], ends[i])
        if first < 0:
            return out[:0], lines[:0]
        out[to : to + first - starts[i] + 1] = raw[starts[i] : first + 1]
        to = _put_escaped(texts, bounds[i], bounds[i + 1], out, to + first - starts[i] + 1)
        out[to : to + ends[i] - last + 1] = raw[last - 1 : ends[i]]
        to += ends[i] - last + 1
        lines[i + 1] = to
    return out[:to], lines
