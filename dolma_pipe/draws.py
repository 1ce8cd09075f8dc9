"""Chance without a generator: a document's draw is a hash that nothing but the document decides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash


def draws(seed: int, purpose: str, source: str, ids: pa.Array, copy: int = 0) -> npt.NDArray[np.uint64]:
    """uint64 per document: xxh3_64 over (seed, purpose, source, id, copy), each behind its length in bytes (u64)."""
    head = b"".join(_framed(part) for part in (str(seed), purpose, source))
    tail = _framed(str(copy))
    names = ids.cast(pa.binary()).to_pylist()
    hashed = [xxhash.xxh3_64_intdigest(head + len(name).to_bytes(8, "little") + name + tail) for name in names]
    return np.array(hashed, np.uint64)


def _framed(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(8, "little") + encoded
