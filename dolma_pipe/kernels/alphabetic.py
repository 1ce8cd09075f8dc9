"""Which code points are letters: `str.isalpha`, as a bitmap that kernels read."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np

from dolma_pipe.kernels import piece
from dolma_pipe.kernels.utf8 import code_point_at

UNICODE_VERSION = unicodedata.unidata_version
"""The Unicode version of the bitmap: that of the interpreter's own database."""


@cache
def alphabetic_bitmap() -> np.ndarray:
    """uint8[139264]: bit `code % 8` of byte `code // 8` says `chr(code).isalpha()`."""
    flags = np.fromiter(map(str.isalpha, map(chr, range(sys.maxunicode + 1))), np.bool_, sys.maxunicode + 1)
    return np.packbits(flags, bitorder="little")


@piece
def has_letter(data: np.ndarray, start: int, end: int, bitmap: np.ndarray) -> bool:
    """True when any code point of `data[start:end]` is a letter."""
    at = start
    while at < end:
        code, width = code_point_at(data, at)
        if bitmap[code >> 3] >> (code & 7) & 1:
            return True
        at += width
    return False
