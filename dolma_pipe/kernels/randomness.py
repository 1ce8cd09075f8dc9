"""Whether characters are random, as those of a key are, or were chosen by somebody who gave a name."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import piece
from dolma_pipe.kernels.ascii import DIGIT, HEX, LETTER

SWITCHES = 3
"""How often random characters go from letters to digits and back, at least: words with a number behind do it once."""
CHANGES = 5
"""How often they change between small letters, capitals and digits, at least."""
WORD, LONG_WORD = 8, 16
"""Characters between separators that a word does not have: of any case, and where all letters are of one case."""
LONGEST = 512
"""Characters that entropy is computed of, at most."""

_UNIT = 1 << 16
_N_LOG_N = np.array([round(n * np.log2(max(n, 1)) * _UNIT) for n in range(LONGEST)], np.int64)
"""n log2 n in fixed point, so that no machine rounds a sum in another way."""
_EXAMPLE = np.frombuffer(b"example", np.uint8).copy()


@piece
def is_random(data: np.ndarray, start: int, end: int) -> bool:
    """Letters and digits that take turns, as they do in no word."""
    switches, before = 0, 0
    for at in range(start, end):
        kind = 1 if LETTER[data[at]] else 2 if DIGIT[data[at]] else 0
        switches += kind > 0 and before > 0 and kind != before
        before = kind if kind > 0 else before
    return switches >= SWITCHES


@piece
def is_varied(data: np.ndarray, start: int, end: int) -> bool:
    """Small letters, capitals and digits that take turns: enough where a prefix tells of a key already."""
    changes, before = 0, 0
    for at in range(start, end):
        kind = 2 if DIGIT[data[at]] else 0 if not LETTER[data[at]] else 1 if data[at] >= 0x61 else 3
        changes += kind > 0 and before > 0 and kind != before
        before = kind if kind > 0 else before
    return changes >= CHANGES


@piece
def is_name(data: np.ndarray, start: int, end: int) -> bool:
    """Words behind one another: short ones with separators between; or small letters side by side in nearly half of
    all places, and capitals (of random letters and digits it is a fifth)."""
    small, capital, separated, pairs, part, longest = False, False, False, 0, 0, 0
    for at in range(start, end):
        byte = data[at]
        is_small = byte >= 0x61 and byte <= 0x7A
        pairs += is_small and at > start and data[at - 1] >= 0x61 and data[at - 1] <= 0x7A
        small |= is_small
        capital |= byte >= 0x41 and byte <= 0x5A
        between = byte == 0x2D or byte == 0x5F or byte == 0x2F  # - _ /
        separated |= between
        part = 0 if between else part + 1
        longest = max(longest, part)
    mixed = small and capital
    if separated and longest < (WORD if mixed else LONG_WORD):
        return True
    return mixed and pairs * 20 >= 9 * (end - start - 1)


@piece
def is_uuid(data: np.ndarray, start: int, end: int) -> bool:
    """RFC 9562's 32 hexadecimal digits with hyphens."""
    if end - start != 36:
        return False
    right = True
    for i in range(36):
        is_hyphen = data[start + i] == 0x2D
        right &= is_hyphen if i == 8 or i == 13 or i == 18 or i == 23 else HEX[data[start + i]] > 0
    return right


@piece
def is_example(data: np.ndarray, start: int, end: int) -> bool:
    """Is `example` in it, as in the keys of documentation (`AKIAIOSFODNN7EXAMPLE`)?"""
    for at in range(start, end - len(_EXAMPLE) + 1):
        i = 0
        while i < len(_EXAMPLE) and data[at + i] | 0x20 == _EXAMPLE[i]:
            i += 1
        if i == len(_EXAMPLE):
            return True
    return False


@piece
def is_hexadecimal(data: np.ndarray, start: int, end: int) -> bool:
    at = start
    while at < end and HEX[data[at]]:
        at += 1
    return at == end


@piece
def entropy(data: np.ndarray, start: int, end: int, counts: np.ndarray) -> float:
    """Shannon entropy in bits per byte; `counts` are zeros, and are so again afterwards."""
    for at in range(start, end):
        counts[data[at]] += 1
    total = _N_LOG_N[end - start]
    for at in range(start, end):
        total -= _N_LOG_N[counts[data[at]]]
        counts[data[at]] = 0
    return total / ((end - start) * _UNIT)
