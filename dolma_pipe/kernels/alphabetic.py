"""Sets of code points as bitmaps that kernels read: letters (`str.isalpha`), and others of that kind."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from functools import cache

import numpy as np

from dolma_pipe.kernels import piece
from dolma_pipe.kernels.utf8 import code_point_at

UNICODE_VERSION = unicodedata.unidata_version
"""The Unicode version of the bitmaps: that of the interpreter's own database."""

CODE_POINTS = sys.maxunicode + 1


def packed(flags: np.ndarray) -> np.ndarray:
    """uint8[139264] from bool[1114112]: bit `code % 8` of byte `code // 8` is the flag of that code point."""
    return np.packbits(flags, bitorder="little")


def bitmap(belongs: Callable[[str], bool]) -> np.ndarray:
    """The bitmap of the characters that a predicate accepts."""
    return packed(np.fromiter(map(belongs, map(chr, range(CODE_POINTS))), np.bool_, CODE_POINTS))


@cache
def alphabetic_bitmap() -> np.ndarray:
    """Letters of any script: `str.isalpha`."""
    return bitmap(str.isalpha)


@piece
def is_member(code: int, bitmap: np.ndarray) -> bool:
    """Whether a code point belongs to the set."""
    return bool(bitmap[code >> 3] >> (code & 7) & 1)


@piece
def has_letter(data: np.ndarray, start: int, end: int, bitmap: np.ndarray) -> bool:
    """True when any code point of `data[start:end]` is a letter, or whatever the bitmap holds."""
    at = start
    while at < end:
        code, width = code_point_at(data, at)
        if bitmap[code >> 3] >> (code & 7) & 1:
            return True
        at += width
    return False
