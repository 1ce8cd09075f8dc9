"""Sets of strings as open-addressed tables from 64-bit hashes to 64 flags: a look-up is one or two loads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import finish

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
EMPTY = np.uint64(0)
START = _BASIS
"""The state before the first byte."""


class Table(NamedTuple):
    """`keys` (`EMPTY` where free, a power of two of them) and the flags at the same places."""

    keys: np.ndarray
    flags: np.ndarray


@piece
def add_byte(state: np.uint64, byte: int) -> np.uint64:
    """The state after one more byte: a hash that grows in either direction of reading."""
    return (state ^ np.uint64(byte)) * _PRIME


@piece
def key_of(state: np.uint64) -> np.uint64:
    key = finish(state)
    return key if key != EMPTY else ~EMPTY


@piece
def find(table: Table, key: np.uint64) -> int:
    """Where a key stands, or -1."""
    last = np.uint64(len(table.keys) - 1)
    slot = key & last
    while table.keys[slot] != EMPTY:
        if table.keys[slot] == key:
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & last
    return -1


@piece
def flags_of(table: Table, key: np.uint64) -> np.uint64:
    """The flags of a key, none if it is not there."""
    slot = find(table, key)
    return table.flags[slot] if slot >= 0 else np.uint64(0)


@kernel
def _fill(table: Table, keys: np.ndarray, flags: np.ndarray) -> None:
    last = np.uint64(len(table.keys) - 1)
    for i in range(len(keys)):
        slot = keys[i] & last
        while table.keys[slot] != EMPTY and table.keys[slot] != keys[i]:
            slot = (slot + np.uint64(1)) & last
        table.keys[slot] = keys[i]
        table.flags[slot] |= flags[i]


def make_table(keys: np.ndarray, flags: np.ndarray) -> Table:
    """The table of uint64 keys and their uint64 flags; a key that comes twice has the flags of both."""
    slots = 1 << (2 * len(keys) + 1).bit_length()
    table = Table(np.zeros(slots, np.uint64), np.zeros(slots, np.uint64))
    _fill(table, keys, flags)
    return table
