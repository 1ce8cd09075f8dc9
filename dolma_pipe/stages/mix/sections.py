"""Scratch files that hold one array per reader: written by one task, each section read by another.

int64 n | int64 offsets[n + 1], from the end of the header | the sections' bytes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_pipe import storage

Array = npt.NDArray[Any]


def write_sections(stream: Any, sections: Sequence[Array]) -> None:
    """Write the arrays one after the other, behind an index of them."""
    offsets = np.zeros(len(sections) + 1, np.int64)
    np.cumsum([section.nbytes for section in sections], out=offsets[1:])
    stream.write(np.int64(len(sections)).tobytes() + offsets.tobytes())
    for section in sections:
        if section.nbytes:
            stream.write(np.ascontiguousarray(section).view(np.uint8))


def read_section(path: str, index: int, dtype: npt.DTypeLike) -> Array:
    """One of the arrays of a file."""
    with storage.open_read(path) as stream:
        count = int(np.frombuffer(stream.read(8), np.int64)[0])
        stream.seek(8 + 8 * index)
        start, end = np.frombuffer(stream.read(16), np.int64).tolist()
        stream.seek(8 + 8 * (count + 1) + start)
        return np.frombuffer(stream.read(end - start), dtype)
