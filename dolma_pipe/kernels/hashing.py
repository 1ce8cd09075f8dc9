"""64 and 128 bits of hash for a range of bytes, for use inside kernels.

Both read the bytes as little-endian words of eight, whatever the machine, so
a key computed here is the same everywhere. Neither withstands an adversary.

`hash64` is the construction that XXH64 uses for short inputs, with the last
group padded with zeros and the length in the seed (so for 0, 8, 16 and 24
bytes it is XXH64): a word of up to eight bytes costs one load, and two
different ones of one length never collide. `hash128` is
MurmurHash3_x64_128 with seed 0, for keys that stand for their text: among
10^10 distinct keys a collision has probability 1.5e-19 (n^2 / 2 / 2^128).
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_FMIX1 = np.uint64(0xFF51AFD7ED558CCD)
_FMIX2 = np.uint64(0xC4CEB9FE1A85EC53)
_ADD1 = np.uint64(0x52DCE729)
_ADD2 = np.uint64(0x38495AB5)
_ONE, _FIVE, _EIGHT = np.uint64(1), np.uint64(5), np.uint64(8)


@piece
def load64(data: np.ndarray, at: int) -> np.uint64:
    """Eight bytes from `at` as a little-endian word; `at + 8 <= len(data)`. Compiles to one load."""
    i = np.uint64(at)
    return (
        np.uint64(data[i])
        | np.uint64(data[i + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[i + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[i + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[i + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[i + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[i + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[i + np.uint64(7)]) << np.uint64(56)
    )


@piece
def load_tail(data: np.ndarray, at: int, count: int) -> np.uint64:
    """`count` bytes (0 to 7) from `at` as a little-endian word padded with zeros."""
    if at + 8 <= len(data):
        return load64(data, at) & ((_ONE << np.uint64(8 * count)) - _ONE)
    word = np.uint64(0)
    for i in range(count):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@piece
def rotate(word: np.uint64, bits: int) -> np.uint64:
    """Rotate left by 1 to 63 bits."""
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@piece
def absorb(state: np.uint64, word: np.uint64) -> np.uint64:
    """The state after one more group of eight bytes."""
    return rotate(state ^ rotate(word * _P2, 31) * _P1, 27) * _P1 + _P4


@piece
def finish(state: np.uint64) -> np.uint64:
    """Spread every bit of the state over all of the result."""
    state = (state ^ (state >> np.uint64(33))) * _P2
    state = (state ^ (state >> np.uint64(29))) * _P3
    return state ^ (state >> np.uint64(32))


@piece
def hash64(data: np.ndarray, start: int, end: int) -> np.uint64:
    """64-bit hash of `data[start:end]`."""
    state = _P5 + np.uint64(end - start)
    at = start
    while at + 8 <= end:
        state = absorb(state, load64(data, at))
        at += 8
    if at < end:
        state = absorb(state, load_tail(data, at, end - at))
    return finish(state)


@piece
def combine64(first: np.uint64, second: np.uint64) -> np.uint64:
    """64-bit hash of an ordered pair of 64-bit values, as of their sixteen bytes."""
    return finish(absorb(absorb(_P5 + np.uint64(16), first), second))


@piece
def _murmur_finish(word: np.uint64) -> np.uint64:
    word = (word ^ (word >> np.uint64(33))) * _FMIX1
    word = (word ^ (word >> np.uint64(33))) * _FMIX2
    return word ^ (word >> np.uint64(33))


@piece
def hash128(data: np.ndarray, start: int, end: int) -> tuple[np.uint64, np.uint64]:
    """128-bit hash of `data[start:end]` as (first, second) 64 bits of MurmurHash3_x64_128, seed 0."""
    low, high = np.uint64(0), np.uint64(0)
    at = start
    while at + 16 <= end:
        low ^= rotate(load64(data, at) * _C1, 31) * _C2
        low = (rotate(low, 27) + high) * _FIVE + _ADD1
        high ^= rotate(load64(data, at + 8) * _C2, 33) * _C1
        high = (rotate(high, 31) + low) * _FIVE + _ADD2
        at += 16
    if at + 8 <= end:
        high ^= rotate(load_tail(data, at + 8, end - at - 8) * _C2, 33) * _C1
        low ^= rotate(load64(data, at) * _C1, 31) * _C2
    elif at < end:
        low ^= rotate(load_tail(data, at, end - at) * _C1, 31) * _C2
    size = np.uint64(end - start)
    low, high = low ^ size, high ^ size
    low += high
    high += low
    low, high = _murmur_finish(low), _murmur_finish(high)
    low += high
    return low, high + low


@kernel
def hash64_ranges(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """`hash64` of every range: uint64[n]."""
    hashes = np.empty(len(starts), np.uint64)
    for i in range(len(starts)):
        hashes[i] = hash64(data, starts[i], ends[i])
    return hashes


@kernel
def hash128_ranges(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """`hash128` of every range: uint64[n, 2]."""
    hashes = np.empty((len(starts), 2), np.uint64)
    for i in range(len(starts)):
        hashes[i, 0], hashes[i, 1] = hash128(data, starts[i], ends[i])
    return hashes
