"""What rules for source code ask about characters: letters, digits, tokens, lengths of lines."""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

from dolma_pipe.kernels import kernel
from dolma_pipe.kernels.alphabetic import CODE_POINTS
from dolma_pipe.kernels.linebreaks import break_width
from dolma_pipe.kernels.utf8 import code_point_at

CHARACTERS, ALPHANUMERIC, LETTERS, TOKENS, LINES, LINE_CHARACTERS, LONGEST_LINE, ROWS = range(8)
"""Rows of what `code_signals` returns."""

REGEX_VERSION = regex.__version__
"""The version of the module that says what `\\w` and `\\s` are."""

OTHER, SPACE, WORD = range(3)
_LETTER, _ALPHANUMERIC = 4, 8


@cache
def classes() -> np.ndarray:
    """uint8 per code point: SPACE (`\\s`), WORD (`\\w`) or OTHER by the `regex` module, and bits for `str.isalpha` and
    `str.isalnum`."""
    found = np.zeros(CODE_POINTS, np.uint8)
    characters = [chr(code) for code in range(CODE_POINTS)]
    for kind, pattern in ((SPACE, regex.compile(r"\s")), (WORD, regex.compile(r"\w"))):
        found[[code for code, character in enumerate(characters) if pattern.match(character)]] = kind
    for bit, belongs in ((_LETTER, str.isalpha), (_ALPHANUMERIC, str.isalnum)):
        found[[code for code, character in enumerate(characters) if belongs(character)]] |= bit
    return found


@kernel
def code_signals(data: np.ndarray, offsets: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Counts over each document: int64[ROWS, n].

    CHARACTERS code points, of these ALPHANUMERIC and LETTERS; TOKENS matches of `\\w+|[^\\w\\s]+`; LINES of
    `str.splitlines`, LINE_CHARACTERS in all of them, LONGEST_LINE in code points.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        alphanumeric, letters, characters, tokens, before = 0, 0, 0, 0, SPACE
        lines, length, total, longest = 0, 0, 0, 0
        while at < end:
            code, width = (np.int64(data[at]), 1) if data[at] < 0x80 else code_point_at(data, at)
            about = classes[code]
            kind = about & 3
            tokens += (kind != before) & (kind != SPACE)
            before = kind
            letters += about >> 2 & 1
            alphanumeric += about >> 3
            step = break_width(data, at, end) if code <= 0x1E or code >= 0x80 else 0
            if step > 0:
                lines, total, longest, length = lines + 1, total + length, max(longest, length), 0
                characters += 2 if step == 2 and code == 0x0D else 1
                at += step
            else:
                length, characters = length + 1, characters + 1
                at += width
        found[CHARACTERS, document], found[TOKENS, document] = characters, tokens
        found[ALPHANUMERIC, document], found[LETTERS, document] = alphanumeric, letters
        found[LINES, document], found[LINE_CHARACTERS, document] = lines + (length > 0), total + length
        found[LONGEST_LINE, document] = max(longest, length)
    return found
