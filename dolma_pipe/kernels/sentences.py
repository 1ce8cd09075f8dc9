"""Sentences as runs of words, and what MADLAD-400 asks about them (Kudugunta et al. 2023, section 2.3)."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.ascii import table
from dolma_pipe.kernels.line_kinds import is_in
from dolma_pipe.kernels.marks import WINDOW, Marks, next_words
from dolma_pipe.kernels.masks import WIDTH, equal, popcount
from dolma_pipe.kernels.utf8 import chars_between, code_point_at

LIST_CASE, LENGTH, TECHNICAL = np.uint8(1), np.uint8(2), np.uint8(4)
"""Flags of a sentence."""

FEWEST_TOKENS, SHORTEST, LONGEST = 12, 20, 500
_TECHNICAL = table("0123456789{}+/()>")


@piece
def ends_sentence(data: np.ndarray, end: int) -> bool:
    """Whether a word that ends at `end` ends with `.`, `!` or `?`."""
    mark = data[end - 1]
    return mark == 0x2E or mark == 0x21 or mark == 0x3F


@piece
def first_alphanumeric(data: np.ndarray, start: int, end: int, alphanumeric: np.ndarray) -> int:
    """The first letter or digit of a word as a code point, or -1."""
    at = start
    while at < end:
        code, width = code_point_at(data, at)
        if is_in(alphanumeric, code):
            return code
        at += width
    return -1


@piece
def _flags(tokens: int, capitals: int, chars: int, technical: int) -> np.uint8:
    flags = LIST_CASE if tokens >= FEWEST_TOKENS and 2 * capitals > tokens else np.uint8(0)
    if chars < SHORTEST or chars > LONGEST:
        flags |= LENGTH
    if 5 * technical > chars:
        flags |= TECHNICAL
    return flags


@kernel
def sentence_signals(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, upper: np.ndarray, alphanumeric: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The sentences of every document: (flags uint8[s], where the first word of each begins and its last one ends
    int32[s], offsets int64[n + 1]).

    A sentence ends with a word that ends with `.`, `!` or `?`, and with the document. Its text goes from its first
    word to its last; a token is a word that holds a letter or digit, a capital one begins with an upper-case letter.
    """
    most = _most_sentences(data, len(offsets))
    flags, begins, stops = np.empty(most, np.uint8), np.empty(most, np.int32), np.empty(most, np.int32)
    sentence_offsets = np.zeros(len(offsets), np.int64)
    starts, ends = np.empty(WINDOW, np.int32), np.empty(WINDOW, np.int32)
    count = 0
    for document in range(len(offsets) - 1):
        at, tokens, capitals, start, end = offsets[document], 0, 0, -1, -1
        while at < offsets[document + 1]:
            words, at = next_words(marks, at, offsets[document + 1], starts, ends)
            for word in range(words):
                code = first_alphanumeric(data, starts[word], ends[word], alphanumeric)
                tokens += code >= 0
                capitals += code >= 0 and is_in(upper, code)
                start, end = starts[word] if start < 0 else start, np.int64(ends[word])
                if ends_sentence(data, end):
                    flags[count], begins[count], stops[count] = _judged(data, start, end, tokens, capitals), start, end
                    tokens, capitals, start, count = 0, 0, -1, count + 1
        if start >= 0:
            flags[count], begins[count], stops[count] = _judged(data, start, end, tokens, capitals), start, end
            count += 1
        sentence_offsets[document + 1] = count
    return flags[:count], begins[:count], stops[:count], sentence_offsets


@piece
def _most_sentences(data: np.ndarray, documents: int) -> int:
    """As many as there are, or more: marks that may end one, and documents."""
    most = documents
    for at in range(0, len(data), WIDTH):
        most += popcount(equal(data, at, 0x2E) | equal(data, at, 0x21) | equal(data, at, 0x3F))
    return most


@piece
def _judged(data: np.ndarray, start: int, end: int, tokens: int, capitals: int) -> np.uint8:
    technical = 0
    for at in range(start, end):
        technical += _TECHNICAL[data[at]]
    return _flags(tokens, capitals, chars_between(data, start, end), technical)
