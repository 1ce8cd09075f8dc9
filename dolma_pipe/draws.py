"""Chance without a generator: a document's draw is a hash that nothing but the document decides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

MANY = 4096
"""From so many ids on the kernel is worth loading."""


def draws(seed: int, purpose: str, source: str, ids: pa.Array, copy: int = 0) -> npt.NDArray[np.uint64]:
    """uint64 per document: xxh3_64 over (seed, purpose, source, id, copy), each behind its length in bytes (u64)."""
    head = b"".join(_framed(part) for part in (str(seed), purpose, source))
    tail = _framed(str(copy))
    if len(ids) < MANY:
        return _each(head, ids.cast(pa.binary()).to_pylist(), tail)
    from dolma_pipe.kernels.xxh3 import framed_hashes, secret

    names = ids.cast(pa.large_binary())
    offsets = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
    data = np.frombuffer(names.buffers()[2] or b"", np.uint8)
    ends = (np.frombuffer(part, np.uint8) for part in (head, tail))
    found, left = framed_hashes(next(ends), data, offsets, next(ends), secret())
    rows = np.flatnonzero(left)
    found[rows] = _each(head, names.take(pa.array(rows)).to_pylist(), tail)
    return found


def _each(head: bytes, names: list[bytes], tail: bytes) -> npt.NDArray[np.uint64]:
    """One by one: few, or long ones."""
    hashed = [xxhash.xxh3_64_intdigest(head + len(name).to_bytes(8, "little") + name + tail) for name in names]
    return np.array(hashed, np.uint64)


def _framed(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(8, "little") + encoded
