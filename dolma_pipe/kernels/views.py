"""Places in an edited text traced back to the text it was made from."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece


@piece
def _region_before(view_starts: np.ndarray, first: int, end: int, position: int) -> int:
    """The last region of `first:end` that begins at or before `position` of the edited text; `first - 1` if none."""
    while first < end:
        middle = (first + end) // 2
        if view_starts[middle] <= position:
            first = middle + 1
        else:
            end = middle
    return first - 1


@kernel
def to_original(
    documents: np.ndarray, positions: np.ndarray, region_offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray,
    lengths: np.ndarray, is_end: bool,
) -> np.ndarray:  # fmt: skip
    """Code points of edited texts as code points of the originals: int64, one per (document, position).

    Document d has the regions `region_offsets[d]:region_offsets[d + 1]`; region r replaced `starts[r]:ends[r]` by
    `lengths[r]` code points. A place inside a replacement is where its region begins, or ends where `is_end`.
    """
    view_starts = np.empty(len(starts), np.int64)
    for d in range(len(region_offsets) - 1):
        shift = 0
        for r in range(region_offsets[d], region_offsets[d + 1]):
            view_starts[r] = starts[r] + shift
            shift += lengths[r] - (ends[r] - starts[r])
    found = np.empty(len(positions), np.int64)
    for i in range(len(positions)):
        first, end = np.int64(region_offsets[documents[i]]), np.int64(region_offsets[documents[i] + 1])
        # an exclusive end belongs to the code point before it
        position = positions[i] - 1 if is_end else positions[i]
        r = _region_before(view_starts, first, end, position)
        if r < first:
            found[i] = positions[i]
        elif position < view_starts[r] + lengths[r]:
            found[i] = ends[r] if is_end else starts[r]
        else:
            found[i] = ends[r] + positions[i] - (view_starts[r] + lengths[r])
    return found
