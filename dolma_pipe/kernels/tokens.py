"""Token ids of documents: closed by their end-of-text, and copied from many files into one order."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel


@kernel
def close_documents(ids: np.ndarray, offsets: np.ndarray, bos: int, eos: int, out: np.ndarray) -> int:
    """Write every document `ids[offsets[i]:offsets[i + 1]]` to `out` between `bos` (if >= 0) and `eos`.

    `out` has room for them. Returns -1, or the first document that holds `eos` itself.
    """
    at = 0
    for document in range(len(offsets) - 1):
        if bos >= 0:
            out[at] = bos
            at += 1
        for i in range(offsets[document], offsets[document + 1]):
            if ids[i] == eos:
                return document
            out[at] = ids[i]
            at += 1
        out[at] = eos
        at += 1
    return -1


@kernel
def close_segments(
    ids: np.ndarray, offsets: np.ndarray, heads: np.ndarray, documents: np.ndarray, bos: int, eos: int, out: np.ndarray
) -> tuple[int, np.ndarray]:
    """Documents made of segments `ids[offsets[i]:offsets[i + 1]]`, each behind the ids `heads[i]` (those >= 0), written
    to `out` between `bos` (if >= 0) and `eos`.

    `documents[i]` rises by 0 or 1. Returns -1 or the first document that holds `eos` itself, and where each ends.
    """
    ends = np.empty(documents[-1] + 1, np.int64)
    at = 0
    for segment in range(len(documents)):
        document = documents[segment]
        if bos >= 0 and (segment == 0 or documents[segment - 1] != document):
            out[at] = bos
            at += 1
        for i in range(heads.shape[1]):
            if heads[segment, i] >= 0:
                out[at] = heads[segment, i]
                at += 1
        for i in range(offsets[segment], offsets[segment + 1]):
            if ids[i] == eos:
                return document, ends
            out[at] = ids[i]
            at += 1
        if segment + 1 == len(documents) or documents[segment + 1] != document:
            out[at] = eos
            at += 1
            ends[document] = at
    return -1, ends


@kernel
def scatter_ranges(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray, to: np.ndarray) -> None:
    """Copy `data[starts[i]:starts[i] + lengths[i]]` to `out[to[i]:]`."""
    for i in range(len(starts)):
        length = lengths[i]
        out[to[i] : to[i] + length] = data[starts[i] : starts[i] + length]
