"""Best-fit decreasing bin packing."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel


@kernel
def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each item, where items (1 to `capacity`, largest first) go into the fullest bin that has room.

    Best-fit decreasing as in Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (section 3.2): bins with
    equal room form a stack, and a tree of `room -> is there a bin` finds the least room that is enough, so packing n
    items takes n log(capacity) steps.
    """
    leaves = 1
    while leaves < capacity + 1:
        leaves *= 2
    count = np.zeros(2 * leaves, np.int64)  # node i: bins below it; leaf `leaves + room`
    top = np.full(capacity + 1, -1, np.int64)  # the last bin with that much room, and the one before it
    before = np.empty(len(sizes), np.int64)
    bins = np.empty(len(sizes), np.int64)
    opened = 0
    for item in range(len(sizes)):
        size = sizes[item]
        room = _least_room(count, leaves, size)
        if room < 0:
            chosen, room = opened, capacity
            opened += 1
        else:
            chosen = top[room]
            top[room] = before[chosen]
            _add(count, leaves + room, -1)
        bins[item] = chosen
        left = room - size
        if left > 0:
            before[chosen] = top[left]
            top[left] = chosen
            _add(count, leaves + left, 1)
    return bins


@kernel
def _add(count: np.ndarray, node: int, change: int) -> None:
    while node >= 1:
        count[node] += change
        node //= 2


@kernel
def _least_room(count: np.ndarray, leaves: int, size: int) -> int:
    """The least room of at least `size` that a bin has, or -1."""
    node = leaves + size
    if count[node] > 0:
        return size
    while node > 1:  # up to where a right sibling has bins, then down to its leftmost
        if node % 2 == 0 and count[node + 1] > 0:
            node += 1
            while node < leaves:
                node = 2 * node if count[2 * node] > 0 else 2 * node + 1
            return node - leaves
        node //= 2
    return -1
