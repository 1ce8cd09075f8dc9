"""Classes of ASCII bytes, as lookup tables of 256 booleans."""

from __future__ import annotations

import string

import numpy as np


def table(members: str) -> np.ndarray:
    """bool[256]: true for the bytes of `members`."""
    found = np.zeros(256, np.bool_)
    found[list(members.encode("ascii"))] = True
    return found


DIGIT = table(string.digits)
LETTER = table(string.ascii_letters)
WORD = table(string.ascii_letters + string.digits + "_")
HEX = table(string.hexdigits)
