"""Token ids in a file of a run: their lower 16 bits behind one another, then the bits above them, a plane for each.

So an id takes 16 to 18 bits rather than 32, and both directions are as fast as a copy: there is nothing to decide.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Bytes, Int64s


def planes_for(vocab_size: int) -> int:
    """Bits that the largest id has above its lower 16."""
    return max((vocab_size - 1).bit_length() - 16, 0)


class IdsWriter:
    """Writes ids into a binary stream."""

    def __init__(self, stream: Any, planes: int) -> None:
        self._stream = stream
        self._planes = [bytearray() for _ in range(planes)]
        self.total = 0

    def write(self, ids: NDArray[Any]) -> None:
        """Append ids, uint16 or uint32."""
        self._stream.write(ids.astype("<u2", copy=False).data)
        before = self.total % 8
        for number, plane in enumerate(self._planes):
            bits = np.zeros(before + len(ids), np.bool_)
            np.not_equal(ids & np.uint32(1 << 16 + number), 0, out=bits[before:])
            packed = np.packbits(bits, bitorder="little")
            if before and len(packed):
                plane[-1] |= int(packed[0])
                packed = packed[1:]
            plane += packed.data
        self.total += len(ids)

    def close(self) -> None:
        """Write the planes; the stream stays open."""
        for plane in self._planes:
            self._stream.write(plane + bytes(_plane_size(self.total) - len(plane)))


class Ids(NamedTuple):
    """Ids that lie in a file: uint16[n], and uint8[planes, m]."""

    low: NDArray[np.uint16]
    planes: Bytes

    def copy(self, starts: Int64s, lengths: Int64s, out: NDArray[Any], to: Int64s) -> None:
        """Copy ids [starts[i], starts[i] + lengths[i]) to `out[to[i]:]`."""
        from dolma_pipe.kernels.tokens import join_ids

        join_ids(self.low, self.planes, starts, lengths, out, to)


def map_ids(path: str, total: int, planes: int) -> Ids:
    """The ids of a file, mapped into memory."""
    stored = map_array(path, np.uint8)
    return Ids(stored[: 2 * total].view("<u2"), stored[2 * total :].reshape(planes, -1 if planes else 0))


def map_array(path: str, dtype: Any) -> NDArray[Any]:
    """A file as a read-only array."""
    return np.frombuffer(map_file(path), dtype)


def map_file(path: str) -> pa.Buffer:
    """A file mapped into memory, but not kept open: of those there may be few, of these as many as there are shards.
    An empty file cannot be mapped, and is an empty buffer."""
    if storage.size(path) == 0:
        return pa.py_buffer(b"")
    with pa.memory_map(storage.local_path(path)) as mapped:
        return mapped.read_buffer()


def _plane_size(total: int) -> int:
    """Bytes of a plane: one more than its bits fill, as they are read in pairs."""
    return -(-total // 8) + 1
