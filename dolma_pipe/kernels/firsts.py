"""A hash table that remembers the first place of each key: the ground under duplicate lines and n-grams.

Open addressing over arrays that the caller allocates once: `keys` uint64[size], `places` int32[size], size a power of
two, `places` holding 0 for a free slot and place + 1 for a taken one. A table that would be half full before all
keys are in works in rounds, each for a part of the keys; so the table is small, whatever the document.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import piece

_MULTIPLIER = np.uint64(0x9E3779B185EBCA87)


@piece
def table_size(entries: int, most: int) -> int:
    """Slots for that many entries: a power of two, half of it free, at most `most` (itself a power of two)."""
    size = 16
    while size < 2 * entries and size < most:
        size *= 2
    return size


@piece
def rounds(entries: int, size: int) -> int:
    """How many rounds it takes for that many entries to leave about half of `size` slots free in each."""
    return 1 + 2 * (entries - 1) // size if entries > 0 else 0


@piece
def is_turn(spread: np.uint64, part: int, parts: int) -> bool:
    """Whether a key belongs to round `part` of `parts`."""
    return parts == 1 or (spread >> np.uint64(32)) % np.uint64(parts) == np.uint64(part)


@piece
def clear(places: np.ndarray, size: int) -> None:
    """Free the first `size` slots."""
    for slot in range(size):
        places[slot] = 0


@piece
def mix(key: np.uint64) -> np.uint64:
    """Spread a key that is not a hash yet over all 64 bits."""
    key = (key ^ (key >> np.uint64(32))) * _MULTIPLIER
    return key ^ (key >> np.uint64(29))


@piece
def first_place(keys: np.ndarray, places: np.ndarray, size: int, key: np.uint64, spread: np.uint64, place: int) -> int:
    """Where `key` was seen first: `place` itself when it is new. `spread` are well-mixed bits of the key."""
    mask = np.uint64(size - 1)
    slot = spread & mask
    while places[slot] != 0:
        if keys[slot] == key:
            return places[slot] - 1
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    places[slot] = place + 1
    return place
