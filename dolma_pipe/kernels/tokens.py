"""Token ids of documents: closed by their end-of-text, and copied from many files into one order."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece


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
        found = ids[offsets[document] : offsets[document + 1]]
        room = out[at : at + len(found)]
        forged = False
        for i in range(len(found)):  # without a way out of it, the loop takes many ids at once
            forged |= found[i] == eos
            room[i] = found[i]
        if forged:
            return document
        at += len(found)
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
def join_ids(
    low: np.ndarray, planes: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray, to: np.ndarray
) -> None:
    """Copy the ids [starts[k], starts[k] + lengths[k]) to `out[to[k]:]`.

    `low` has the lower 16 bits of every id. Bit i of `planes[p]`, from the lowest of each byte up, is bit 16 + p of
    id i; a byte follows the last.
    """
    for k in range(len(starts)):
        source, target = low[starts[k] : starts[k] + lengths[k]], out[to[k] : to[k] + lengths[k]]
        if len(source) != lengths[k] or len(target) != lengths[k]:
            raise IndexError("ids to copy lie outside of their array")
        for i in range(len(target)):
            target[i] = source[i]
        for plane in range(len(planes)):
            _put_bits(planes[plane], starts[k], target, 16 + plane)


@piece
def _put_bits(bits: np.ndarray, first: int, target: np.ndarray, shift: int) -> None:
    """Set bit `shift` of `target[i]` where bit `first + i` of `bits` is set."""
    at, turn = np.uint64(first >> 3), np.uint32(first & 7)
    to = np.uint64(0)  # unsigned: an index that cannot be negative needs no look
    for _ in range(len(target) >> 3):
        eight = (np.uint32(bits[at]) | np.uint32(bits[at + np.uint64(1)]) << np.uint32(8)) >> turn
        for j in range(8):  # all of them at once, as there is nothing to decide
            target[to + np.uint64(j)] |= ((eight >> np.uint32(j)) & np.uint32(1)) << np.uint32(shift)
        at, to = at + np.uint64(1), to + np.uint64(8)
    for i in range(len(target) & ~7, len(target)):
        place = first + i
        target[i] |= ((np.uint32(bits[place >> 3]) >> np.uint32(place & 7)) & np.uint32(1)) << np.uint32(shift)
