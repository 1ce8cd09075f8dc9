"""Byte ranges of one array copied behind one another."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel


@kernel
def gather_ranges(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes `data[starts[i]:ends[i]]` behind one another, and their int64[n + 1] offsets."""
    offsets = np.zeros(len(starts) + 1, np.int64)
    for i in range(len(starts)):
        offsets[i + 1] = offsets[i] + ends[i] - starts[i]
    out = np.empty(offsets[-1], np.uint8)
    for i in range(len(starts)):
        out[offsets[i] : offsets[i + 1]] = data[starts[i] : ends[i]]
    return out, offsets


@kernel
def join_lines(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The ranges behind one another, each followed by a newline."""
    total = len(starts)
    for i in range(len(starts)):
        total += ends[i] - starts[i]
    out = np.empty(total, np.uint8)
    at = 0
    for i in range(len(starts)):
        length = ends[i] - starts[i]
        out[at : at + length] = data[starts[i] : ends[i]]
        out[at + length] = 10
        at += length + 1
    return out
