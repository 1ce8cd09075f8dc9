"""Keyed permutations of 0..n-1 that need no memory: any position of any epoch can be asked for.

A balanced Feistel network over the smallest even number of bits that holds n, repeated while the result is
n or more (cycle walking; Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Not cryptography:
the round function is splitmix64's finaliser (Steele et al. 2014).
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
LEAST_HALF_BITS = 4
"""Below 2^8 a Feistel network knows few permutations; small n walk a larger domain instead."""


def key_of(*parts: str | int) -> int:
    """A 63-bit key that is equal only for equal parts."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permute(positions: NDArray[np.integer], size: int, key: int) -> NDArray[np.int64]:
    """Where `positions` (each in 0..size-1) stand in the permutation that `key` names; int64, size at most 2^62."""
    values = np.asarray(positions).astype(np.uint64)
    if size == 1:
        return values.astype(np.int64)
    half = max(LEAST_HALF_BITS, -(-(size - 1).bit_length() // 2))
    keys = _mix(np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(key))
    values = _feistel(values, half, keys)
    while len(outside := np.flatnonzero(values >= np.uint64(size))):
        values[outside] = _feistel(values[outside], half, keys)
    return values.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
