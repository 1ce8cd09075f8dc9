"""Candidates for e-mail addresses, telephone numbers and IP addresses, found in one pass over the bytes.

Nothing is searched for everywhere: an `@`, a group of digits, a `+`, a `(` or a
`:` is looked at from where it stands, over a bounded window, so the time is
linear in the text whatever it holds. What is found here is well-formed; what
needs knowledge (is the address public? is this an ISBN?) is left to the tagger.
"""

from __future__ import annotations

import string

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.ascii import DIGIT, LETTER, WORD, table
from dolma_pipe.kernels.ip import ipv4_end, ipv6
from dolma_pipe.kernels.phone import international_end, is_nanp, may_close, may_open, national_end

EMAIL, PHONE, IP, BARE = 1, 2, 3, 4
"""Kinds of candidates; BARE is ten digits without separators, a number only where the text around says so."""

Candidates = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_ANCHOR = table("@+(:" + string.digits)
_LOCAL = table(string.ascii_letters + string.digits + "._%+-")
_LABEL = table(string.ascii_letters + string.digits + "-")
_LOCAL_MOST, _LABEL_MOST, _DOMAIN_MOST = 64, 63, 253
"""Bytes of a local part, of a domain's label and of a domain (RFC 5321, 4.5.3.1)."""

_FILE_NAMES = (
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "svg",
    "bmp",
    "ico",
    "css",
    "js",
    "json",
    "html",
    "htm",
    "php",
    "txt",
    "xml",
    "pdf",
)
_FILE_ENDINGS = np.array([int.from_bytes(name.encode(), "big") for name in _FILE_NAMES], np.int64)
"""Endings of file names (`icon@2x.png`) that are no top-level domains."""


@kernel
def find_candidates(data: np.ndarray, offsets: np.ndarray) -> Candidates:
    """(kinds, documents, starts, ends) of the candidates, in order; positions in bytes of `data`, none overlap."""
    size, count = 64, 0
    kinds, documents = np.empty(size, np.int64), np.empty(size, np.int64)
    starts, ends = np.empty(size, np.int64), np.empty(size, np.int64)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        floor = low
        at = _next_anchor(data, low, high)
        while at < high:
            kind, start, end = _candidate(data, low, floor, high, at)
            at = _next_anchor(data, end, high)
            if kind == 0:
                continue
            if count == size:
                size *= 2
                kinds, documents = _longer(kinds, size), _longer(documents, size)
                starts, ends = _longer(starts, size), _longer(ends, size)
            kinds[count], documents[count], starts[count], ends[count] = kind, document, start, end
            count += 1
            floor = end
    return kinds[:count], documents[:count], starts[:count], ends[:count]


@piece
def _next_anchor(data: np.ndarray, at: int, high: int) -> int:
    while at < high and not _ANCHOR[data[at]]:
        at += 1
    return at


@kernel
def _longer(array: np.ndarray, size: int) -> np.ndarray:
    grown = np.empty(size, array.dtype)
    for i in range(len(array)):  # a slice's broadcasting checks would double the compile time
        grown[i] = array[i]
    return grown


@kernel
def _candidate(data: np.ndarray, low: int, floor: int, high: int, at: int) -> tuple[int, int, int]:
    """What the anchor at `at` belongs to, as (kind, start, end); kind 0: nothing, look on at `end`.

    `low:high` is the document; no candidate begins before `floor`, the end of the last one.
    """
    byte = data[at]
    if byte == 0x40:  # @
        start, end = _email(data, floor, high, at)
        return (EMAIL, start, end) if end > 0 else (0, 0, at + 1)
    if byte == 0x3A:  # :
        start, end, following = ipv6(data, low, floor, high, at)
        return (IP, start, end) if start >= 0 else (0, 0, following)
    if byte == 0x2B:  # +
        end = international_end(data, low, high, at)
        return (PHONE, at, end) if end > 0 else (0, 0, at + 1)
    if byte == 0x28:  # (
        end = national_end(data, low, high, at)
        return (PHONE, at, end) if end > 0 else (0, 0, at + 1)
    return _number(data, low, high, at)


@kernel
def _number(data: np.ndarray, low: int, high: int, at: int) -> tuple[int, int, int]:
    """A candidate that begins with the group of digits at `at`; else the group's end."""
    group = at
    while group < high and DIGIT[data[group]]:
        group += 1
    length = group - at
    if length <= 3 and group < high and data[group] == 0x2E:
        end = ipv4_end(data, low, high, at)
        if end > 0:
            return IP, at, end
    if length == 10 and is_nanp(data, at, at + 3) and may_open(data, low, at) and may_close(data, high, group):
        return BARE, at, group
    if length == 3 or (length == 1 and data[at] == 0x31):
        end = national_end(data, low, high, at)
        if end > 0:
            return PHONE, at, end
    return 0, 0, group


@piece
def _email(data: np.ndarray, floor: int, high: int, at: int) -> tuple[int, int]:
    """(start, end) of the address around the `@`, or (-1, -1): RFC 5321 without quoted parts, letters of RFC 6531."""
    start = _local_start(data, floor, at)
    if start == at or at - start > _LOCAL_MOST or data[at - 1] == 0x2E:
        return -1, -1
    if start > floor and data[start - 1] == 0x40:  # @user@host: a handle
        return -1, -1
    while start < at and not _opens_local(data, start):
        start += 1
    end = _domain_end(data, high, at + 1) if start < at else -1
    return (start, end) if end > 0 else (-1, -1)


@piece
def _local_start(data: np.ndarray, floor: int, at: int) -> int:
    """Where the run of a local part's characters that ends at `at` begins; it stops behind two dots (`see...ann@`)."""
    start = at
    first = max(floor, at - _LOCAL_MOST - 1)
    while start > first:
        byte = data[start - 1]
        if _LOCAL[byte] and not (byte == 0x2E and start < at and data[start] == 0x2E):
            start -= 1
        elif byte >= 0x80 and byte < 0xC0 and start - 2 >= first and _accented(data[start - 2]):
            start -= 2
        else:
            break
    return start


@piece
def _accented(byte: int) -> bool:
    """Does this byte begin a letter of the Latin, Greek or Cyrillic blocks, or a combining accent (two bytes each)?"""
    return byte >= 0xC3 and byte <= 0xD4


@piece
def _combining(data: np.ndarray, at: int) -> bool:
    """Is the two-byte character at `at` a combining accent (U+0300 to U+036F)?"""
    return data[at] == 0xCC or (data[at] == 0xCD and data[at + 1] < 0xB0)


@piece
def _opens_local(data: np.ndarray, at: int) -> bool:
    """A letter, a digit or `_`: not a dot, a sign, or an accent on what stands before."""
    return bool(WORD[data[at]]) or (_accented(data[at]) and not _combining(data, at))


@piece
def _domain_end(data: np.ndarray, high: int, start: int) -> int:
    """Where the domain that begins at `start` ends: behind its last label that can be a top-level one; or -1."""
    found, labels, at = -1, 0, start
    while at < high and at - start <= _DOMAIN_MOST:
        end = _label_end(data, at, high)
        if end == at or end - at > _LABEL_MOST or data[at] == 0x2D:
            break
        shown = end
        while data[shown - 1] == 0x2D:
            shown -= 1
        goes_on = end + 1 < high and data[end] == 0x2E and _LABEL[data[end + 1]]
        if found > 0 and _begins_sentence(data, at, shown) and not goes_on:
            break
        labels += 1
        if labels > 1 and _is_top_level(data, at, shown):
            found = shown
        if shown < end or end >= high or data[end] != 0x2E:
            break
        at = end + 1
    return found


@piece
def _label_end(data: np.ndarray, start: int, high: int) -> int:
    """End of the run of letters, digits and hyphens at `start`, of which no more than 64 bytes are looked at."""
    at = start
    last = min(high, start + _LABEL_MOST + 1)
    while at < last:
        if _LABEL[data[at]]:
            at += 1
        elif _accented(data[at]) and not _combining(data, at):
            at += 2
        else:
            break
    return at


@piece
def _begins_sentence(data: np.ndarray, start: int, end: int) -> bool:
    """`Then` in `ann@example.com.Then`: a capital, then a small letter."""
    return end - start > 1 and data[start] >= 0x41 and data[start] <= 0x5A and data[start + 1] >= 0x61


@piece
def _is_top_level(data: np.ndarray, start: int, end: int) -> bool:
    """Two letters or more and nothing else, or punycode; and no ending of a file name."""
    if end - start < 2:
        return False
    for at in range(start, end):
        if not (LETTER[data[at]] or data[at] >= 0x80):
            return _is_punycode(data, start, end)
    return not (end - start < 6 and _is_file_ending(data, start, end))


@piece
def _is_punycode(data: np.ndarray, start: int, end: int) -> bool:
    if end - start < 5 or data[start] | 0x20 != 0x78 or data[start + 1] | 0x20 != 0x6E:  # xn--
        return False
    return data[start + 2] == 0x2D and data[start + 3] == 0x2D


@piece
def _is_file_ending(data: np.ndarray, start: int, end: int) -> bool:
    packed = np.int64(0)
    for at in range(start, end):
        packed = packed * 256 + np.int64(data[at] | 0x20)
    found = False
    for ending in _FILE_ENDINGS:
        found |= packed == ending
    return found
