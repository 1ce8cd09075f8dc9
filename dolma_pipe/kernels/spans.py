"""Spans merged into disjoint regions, and regions replaced.

Spans that overlap or touch become one region: their union. A region is replaced
by the text of its longest span; of equally long ones, of the earliest edit. So
whatever any span covers is gone, however spans lie over one another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dolma_pipe.kernels import kernel

Regions = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@kernel
def merge_spans(documents: np.ndarray, starts: np.ndarray, ends: np.ndarray, edits: np.ndarray) -> Regions:
    """(documents, starts, ends, winning edits) of the regions, in order.

    The spans ascend by (document, start) and none is empty; offsets count from each document's start.
    """
    region = -1
    longest = 0
    documents, starts, ends, edits = documents.copy(), starts.copy(), ends.copy(), edits.copy()
    for i in range(len(documents)):
        length = ends[i] - starts[i]
        if region < 0 or documents[i] != documents[region] or starts[i] > ends[region]:
            region += 1
            documents[region], starts[region], ends[region], edits[region] = documents[i], starts[i], ends[i], edits[i]
            longest = length
            continue
        ends[region] = max(ends[region], ends[i])
        if length > longest or (length == longest and edits[i] < edits[region]):
            longest, edits[region] = length, edits[i]
    count = region + 1
    return documents[:count], starts[:count], ends[:count], edits[:count]


@kernel
def replace_regions(
    data: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    regions: Regions,
    texts: np.ndarray,
    text_offsets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The named documents with their regions replaced: bytes behind one another, int64[len(documents) + 1] offsets.

    `regions` are (documents, starts, ends, edits) with byte positions in `data`; edit e puts
    `texts[text_offsets[e]:text_offsets[e + 1]]`. Both lists of documents ascend; the named ones are all that have
    regions, and maybe others.
    """
    owners, starts, ends, edits = regions
    size = 0
    for document in documents:
        size += offsets[document + 1] - offsets[document]
    for r in range(len(owners)):
        size += text_offsets[edits[r] + 1] - text_offsets[edits[r]] - (ends[r] - starts[r])
    out = np.empty(size, np.uint8)
    out_offsets = np.zeros(len(documents) + 1, np.int64)
    to, r = 0, 0
    for i in range(len(documents)):
        at = offsets[documents[i]]
        while r < len(owners) and owners[r] == documents[i]:
            to = _copy(data, at, starts[r], out, to)
            to = _copy(texts, text_offsets[edits[r]], text_offsets[edits[r] + 1], out, to)
            at = ends[r]
            r += 1
        to = _copy(data, at, offsets[documents[i] + 1], out, to)
        out_offsets[i + 1] = to
    return out, out_offsets


@kernel
def _copy(data: np.ndarray, start: Any, end: Any, out: np.ndarray, to: int) -> int:
    """Copy a range to position `to`; the position behind it."""
    out[to : to + end - start] = data[start:end]
    return to + end - start
