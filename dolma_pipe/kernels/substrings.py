"""Which of many strings occur in a text, in one pass over it (Aho and Corasick 1975).

Texts and strings are read as ASCII letters and digits only, in lower case: whatever lies between them is skipped.
"""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import piece

_ALPHABET = string.digits + string.ascii_lowercase
SKIPPED = 255
SYMBOLS = np.full(256, SKIPPED, np.uint8)
"""uint8[256]: the number of a byte's letter or digit."""
SYMBOLS[list(_ALPHABET.encode())] = np.arange(len(_ALPHABET))
SYMBOLS[list(string.ascii_uppercase.encode())] = SYMBOLS[list(string.ascii_lowercase.encode())]


class Automaton(NamedTuple):
    """`steps[state, symbol]` is the next state, `flags[state]` says what ends there; state 0 is the beginning."""

    steps: np.ndarray
    flags: np.ndarray


def make_automaton(strings: Sequence[str], flags: Sequence[int]) -> Automaton:
    """For strings of lower-case ASCII letters and digits, none of them empty."""
    children: list[dict[int, int]] = [{}]
    ends = [0]
    for text, flag in zip(strings, flags, strict=True):
        state = 0
        for symbol in map(_ALPHABET.index, text):
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                ends.append(0)
            state = children[state][symbol]
        ends[state] |= flag
    return _linked(children, np.array(ends, np.uint64))


def _linked(children: list[dict[int, int]], flags: np.ndarray) -> Automaton:
    """The automaton of a tree: where a state has no child, it goes on as its longest suffix does."""
    steps = np.zeros((len(children), len(_ALPHABET)), np.int32)
    waiting = deque([(0, 0)])
    while waiting:
        state, suffix = waiting.popleft()
        steps[state] = steps[suffix]
        flags[state] |= flags[suffix]
        for symbol, child in children[state].items():
            waiting.append((child, int(steps[suffix, symbol]) if state else 0))
            steps[state, symbol] = child
    return Automaton(steps, flags)


@piece
def occurring(automaton: Automaton, symbols: np.ndarray, data: np.ndarray, start: int, end: int) -> np.uint64:
    """The flags of all strings that occur in `data[start:end]`."""
    found = np.uint64(0)
    state = 0
    for at in range(start, end):
        symbol = symbols[data[at]]
        if symbol != SKIPPED:
            state = automaton.steps[state, symbol]
            found |= automaton.flags[state]
    return found
