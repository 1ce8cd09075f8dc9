"""Hosts, registered domains and block lists of URLs. All bytes are in lower case already.

A domain is hashed from its last byte to its first, so all its parents come along; a URL prefix goes on from its host's
hash with the bytes behind the host.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.ascii import DIGIT, WORD
from dolma_pipe.kernels.substrings import SKIPPED, SYMBOLS, Automaton, occurring
from dolma_pipe.kernels.tables import START, Table, add_byte, find, flags_of, key_of

DOMAIN, HOST, URL, HARD, SOFT, SUBWORD, KINDS = range(7)
"""What a list can hold; rows of the flags that `match_urls` returns."""

RULE, WILDCARD, EXCEPTION = np.uint64(1), np.uint64(2), np.uint64(4)
"""Flags of the public suffix table: `co.uk` itself, one more label (`*.ck`), one label less (`!www.ck`)."""

_NONE = np.uint64(0)
_DOT, _SLASH, _COLON, _AT = 0x2E, 0x2F, 0x3A, 0x40


class Lists(NamedTuple):
    """Everything a URL is looked up in."""

    suffixes: Table
    domains: Table
    hosts: Table
    urls: Table
    words: Table
    soft_words: Table
    subwords: Automaton


@piece
def _after_scheme(data: np.ndarray, start: int, end: int) -> int:
    """Position behind `scheme://` or `//`, or -1 if there is neither."""
    at = start
    while at < end and (WORD[data[at]] or data[at] == 0x2B or data[at] == 0x2D or data[at] == _DOT):
        at += 1
    if at > start and at < end and data[at] == _COLON:
        at += 1
    elif at > start:
        return -1
    if at + 1 < end and data[at] == _SLASH and data[at + 1] == _SLASH:
        return at + 2
    return -1


@piece
def _ends_authority(byte: int) -> bool:
    return byte == _SLASH or byte == 0x3F or byte == 0x23 or byte == 0x5C


@piece
def _without_port(data: np.ndarray, start: int, end: int) -> int:
    """Where the host ends, or -1 when what follows its colon is no number."""
    at = end
    while at > start and DIGIT[data[at - 1]]:
        at -= 1
    if at > start and data[at - 1] == _COLON:
        return at - 1
    for i in range(start, end):
        if data[i] == _COLON:
            return -1
    return end


@piece
def _is_host(data: np.ndarray, start: int, end: int, needs_dot: bool) -> bool:
    dotted = not needs_dot
    for at in range(start, end):
        byte = data[at]
        if not (byte >= 0x80 or WORD[byte] or byte == 0x2D or byte == _DOT):
            return False
        dotted |= byte == _DOT
    return dotted and start < end


@piece
def find_host(data: np.ndarray, start: int, end: int) -> tuple[int, int, int]:
    """(start, end of the host, end of the authority) of the URL `data[start:end]`; an empty host if it has none.

    User, port, brackets and a final dot are left out. Without a scheme, the text is a URL if it begins with a name that
    holds a dot: `example.org/a`.
    """
    while start < end and data[start] <= 0x20:
        start += 1
    while end > start and data[end - 1] <= 0x20:
        end -= 1
    first = _after_scheme(data, start, end)
    bare = first < 0
    if bare:
        first = start
    rest = first
    while rest < end and not _ends_authority(data[rest]):
        rest += 1
    for at in range(first, rest):
        if data[at] == _AT and not bare:
            first = at + 1
    last = _without_port(data, first, rest)
    if first < rest and data[first] == 0x5B:  # [IPv6]
        last = first + 1
        while last < rest and (data[last] == _COLON or data[last] == _DOT or WORD[data[last]]):
            last += 1
        whole = last < rest and data[last] == 0x5D and last > first + 1 and not bare
        return (first + 1, last, rest) if whole else (first, first, rest)
    while last > first and data[last - 1] == _DOT:
        last -= 1
    if last < 0 or not _is_host(data, first, last, bare):
        return first, first, rest
    return first, last, rest


@piece
def is_address(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a host is an IP address: it holds a colon, or its last label is a number."""
    for at in range(start, end):
        if data[at] == _COLON:
            return True
    at = end
    while at > start and DIGIT[data[at - 1]]:
        at -= 1
    return at < end and (at == start or data[at - 1] == _DOT)


@piece
def _label_start(data: np.ndarray, start: int, end: int) -> int:
    """Where the last label of `data[start:end]` begins."""
    while end > start and data[end - 1] != _DOT:
        end -= 1
    return end


@piece
def registered_domain(suffixes: Table, data: np.ndarray, start: int, end: int) -> int:
    """Where the registered domain of a host begins: one label more than its public suffix; `end` if it has none.

    The algorithm of publicsuffix.org: of all rules that match the longest holds, exceptions before all, and where none
    matches the last label is the suffix.
    """
    if start == end or is_address(data, start, end):
        return end
    suffix, at, state = _label_start(data, start, end), end, START
    while at > start:
        at -= 1
        state = add_byte(state, data[at])
        if at > start and data[at - 1] != _DOT:
            continue
        rules = flags_of(suffixes, key_of(state))
        if rules & EXCEPTION:
            return at
        if rules & RULE:
            suffix = at
        if rules & WILDCARD:
            suffix = _label_start(data, start, at - 1) if at > start else start
    return end if suffix == start else _label_start(data, start, suffix - 1)


@piece
def _add_backwards(state: np.uint64, data: np.ndarray, start: int, end: int) -> np.uint64:
    for at in range(end - 1, start - 1, -1):
        state = add_byte(state, data[at])
    return state


@piece
def _without_www(data: np.ndarray, start: int, end: int) -> int:
    if end - start > 4 and data[start + 3] == _DOT:  # noqa: SIM102
        if data[start] == 0x77 and data[start + 1] == 0x77 and data[start + 2] == 0x77:
            return start + 4
    return start


@piece
def _listed_domain(domains: Table, data: np.ndarray, start: int, end: int) -> np.uint64:
    """Flags of the host and of all its parents; of an address only its own."""
    found, state = _NONE, START
    whole = is_address(data, start, end)
    for at in range(end - 1, start - 1, -1):
        state = add_byte(state, data[at])
        if at == start or (data[at - 1] == _DOT and not whole):
            found |= flags_of(domains, key_of(state))
    return found


@piece
def _listed_url(urls: Table, host: np.uint64, data: np.ndarray, start: int, end: int) -> np.uint64:
    """Flags of every listed prefix: one that ends where a path's segment or a parameter does."""
    found, state = flags_of(urls, key_of(host)), host
    for at in range(start, end):
        byte = data[at]
        if byte == _SLASH or byte == 0x3F or byte == 0x23 or byte == 0x26:
            found |= flags_of(urls, key_of(state))
        state = add_byte(state, byte)
    return found | flags_of(urls, key_of(state))


@piece
def _count_words(
    words: Table, symbols: np.ndarray, data: np.ndarray, start: int, end: int, seen: np.ndarray, row: int
) -> tuple[int, np.uint64]:
    """(distinct listed words, their flags); `seen` holds, per slot of the table, the last row that had its word."""
    at, count, flags = start, 0, _NONE
    while at < end:
        state, first = START, at
        while at < end and symbols[data[at]] != SKIPPED:
            state = add_byte(state, data[at])
            at += 1
        slot = find(words, key_of(state)) if at > first else -1
        if slot >= 0:
            count += seen[slot] != row
            seen[slot] = row
            flags |= words.flags[slot]
        at += 1
    return count, flags


@kernel
def match_urls(data: np.ndarray, offsets: np.ndarray, lists: Lists) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look up every URL `data[offsets[i]:offsets[i + 1]]`.

    Returns (places int64[n, 3]: start of the host, of the registered domain (the host's end if it has none), end of the
    host; flags uint64[n, KINDS]: which lists it is on; counts int64[n, 2]: distinct hard and soft words).
    """
    rows = len(offsets) - 1
    places, counts = np.empty((rows, 3), np.int64), np.zeros((rows, 2), np.int64)
    flags = np.zeros((rows, KINDS), np.uint64)
    hard_seen = np.full(len(lists.words.keys), -1, np.int64)
    soft_seen = np.full(len(lists.soft_words.keys), -1, np.int64)
    for row in range(rows):
        first, last = offsets[row], offsets[row + 1]
        start, end, rest = find_host(data, first, last)
        places[row, 0], places[row, 2] = start, end
        places[row, 1] = registered_domain(lists.suffixes, data, start, end)
        if start < end:
            flags[row, DOMAIN] = _listed_domain(lists.domains, data, start, end)
            host = _add_backwards(START, data, _without_www(data, start, end), end)
            flags[row, HOST] = flags_of(lists.hosts, key_of(host))
            flags[row, URL] = _listed_url(lists.urls, host, data, rest, last)
        counts[row, 0], flags[row, HARD] = _count_words(lists.words, SYMBOLS, data, first, last, hard_seen, row)
        counts[row, 1], flags[row, SOFT] = _count_words(lists.soft_words, SYMBOLS, data, first, last, soft_seen, row)
        flags[row, SUBWORD] = occurring(lists.subwords, SYMBOLS, data, first, last)
    return places, flags, counts


@kernel
def domain_keys(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Keys of domains or hosts: uint64[n]."""
    keys = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(keys)):
        keys[i] = key_of(_add_backwards(START, data, offsets[i], offsets[i + 1]))
    return keys


@kernel
def url_keys(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Keys of URL prefixes without scheme, `www.` and final slash: uint64[n]."""
    keys = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(keys)):
        start, end, rest = find_host(data, offsets[i], offsets[i + 1])
        state = _add_backwards(START, data, start, end)
        for at in range(rest, offsets[i + 1]):
            state = add_byte(state, data[at])
        keys[i] = key_of(state)
    return keys


@kernel
def word_keys(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Keys of words: uint64[n]."""
    keys = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(keys)):
        state = START
        for at in range(offsets[i], offsets[i + 1]):
            state = add_byte(state, data[at])
        keys[i] = key_of(state)
    return keys
