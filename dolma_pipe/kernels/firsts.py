"""A hash table that remembers the first place of each key: the ground under duplicate lines and n-grams.

Open addressing over arrays that the caller allocates once: `keys` uint64[size], `places` int32[size], size a power of
two, `places` holding 0 for a free slot and place + 1 for a taken one.

A table takes `capacity(size)` keys. Whoever has more works in rounds: a key that finds no room is deferred, and so are
all its later occurrences; the next round, with an empty table, takes what was deferred. So the table is small,
whatever the document, and one round is enough where few keys are distinct.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import piece

DEFERRED = -1

_MULTIPLIER = np.uint64(0x9E3779B185EBCA87)


@piece
def table_size(entries: int, most: int) -> int:
    """Slots for that many entries: a power of two, half of it free, at most `most` (a power of two from 2 on)."""
    size = 2
    while size < 2 * entries and size < most:
        size *= 2
    return size


@piece
def capacity(size: int) -> int:
    """How many keys a table of that size takes: half its slots stay free."""
    return size // 2


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
def first_place(
    keys: np.ndarray, places: np.ndarray, size: int, key: np.uint64, spread: np.uint64, place: int, room: int
) -> int:
    """Where `key` was seen first: `place` itself when it is new, DEFERRED when it is new and there is no `room`.

    `spread` are well-mixed bits of the key.
    """
    mask = np.uint64(size - 1)
    slot = spread & mask
    while places[slot] != 0:
        if keys[slot] == key:
            return places[slot] - 1
        slot = (slot + np.uint64(1)) & mask
    if room <= 0:
        return DEFERRED
    keys[slot] = key
    places[slot] = place + 1
    return place


@piece
def name_keys(
    hashes: np.ndarray,
    first: int,
    count: int,
    names: np.ndarray,
    counts: np.ndarray,
    keys: np.ndarray,
    slots: np.ndarray,
) -> None:
    """For `hashes[first:first + count]`, all well mixed: `names[i]` is the first place (from 0) with the same hash,
    `counts[name]` how often it occurs. Works in rounds where the table (`keys`, `slots`) is too small."""
    size = table_size(count, len(keys))
    for i in range(count):
        names[i] = DEFERRED
        counts[i] = 0
    left = count
    while left > 0:
        clear(slots, size)
        room = capacity(size)
        for i in range(count):
            if names[i] == DEFERRED:
                value = hashes[first + i]
                name = first_place(keys, slots, size, value, value, i, room)
                if name != DEFERRED:
                    names[i] = name
                    counts[name] += 1
                    room -= int(name == i)
                    left -= 1
