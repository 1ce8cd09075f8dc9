"""From buckets to candidate pairs, and from pairs that were verified to stars.

Documents are numbered through a run in documented order (uint32). A pair of
them is one uint64 with the later document in its high half, so that pairs in
numeric order come by their later document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import finish

_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


@piece
def pair_of(earlier: np.uint32, later: np.uint32) -> np.uint64:
    return np.uint64(later) << _HALF | np.uint64(earlier)


def halves(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The earlier and the later document of each pair: uint32 both."""
    return (pairs & _LOW).astype(np.uint32), (pairs >> _HALF).astype(np.uint32)


class Buckets(NamedTuple):
    """Records in the order of their keys, equal keys in documented order; `texts` says whose words are the same."""

    keys: np.ndarray
    texts: np.ndarray
    documents: np.ndarray


class Bench(NamedTuple):
    """Where `bucket_pairs` works, and what it remembers between two calls.

    The table has more slots than any bucket has records, a power of two. `heads` are the first documents of the
    texts of the bucket at hand. `state` is (next record, where its bucket began, texts in it, pairs left out).
    """

    owners: np.ndarray  # int64[slots]: the bucket that a slot was last used for
    records: np.ndarray  # int64[slots]: the first record of a text
    heads: np.ndarray  # uint32[most]
    state: np.ndarray  # int64[4]


def make_bench(buckets: Buckets, most: int) -> Bench:
    """Work space for buckets whose documents are compared with at most `most` others each."""
    starts = np.flatnonzero(np.concatenate([[True], buckets.keys[1:] != buckets.keys[:-1]]))
    largest = int(np.diff(np.append(starts, len(buckets.keys))).max(initial=1))
    slots = 1 << (2 * largest).bit_length()
    heads = np.empty(most, np.uint32)
    return Bench(np.full(slots, -1, np.int64), np.empty(slots, np.int64), heads, np.zeros(4, np.int64))


@piece
def _slot_of(bench: Bench, buckets: Buckets, record: int, bucket: int) -> int:
    """The slot of a record's text in its bucket's table, free or not."""
    last = np.uint64(len(bench.owners) - 1)
    slot = finish(buckets.texts[record]) & last
    while bench.owners[slot] == bucket and buckets.texts[bench.records[slot]] != buckets.texts[record]:
        slot = (slot + np.uint64(1)) & last
    return np.int64(slot)


@kernel
def bucket_pairs(
    buckets: Buckets, bench: Bench, old: int, twin_keys: np.uint64, pairs: np.ndarray, twins: np.ndarray
) -> tuple[int, int]:
    """Fill `pairs` and `twins` with what comes next; (0, 0) after the last.

    In a bucket each document is compared with the first document of each of the
    first `len(bench.heads)` texts before its own. One whose words are those of an
    earlier document is not compared: it is that one's twin, listed as (first,
    twin) for the buckets whose key is below `twin_keys`. Documents below `old` are
    compared with later ones only.
    """
    most = len(bench.heads)
    record, bucket, texts, left_out = bench.state
    found, copies = 0, 0
    while record < len(buckets.keys) and found + most <= len(pairs) and copies < len(twins):
        document = buckets.documents[record]
        if record == 0 or buckets.keys[record] != buckets.keys[record - 1]:
            bucket, texts = record, 0
        slot = _slot_of(bench, buckets, record, bucket)
        if bench.owners[slot] == bucket:
            if buckets.keys[record] < twin_keys and document >= old:
                twins[copies] = pair_of(document, buckets.documents[bench.records[slot]])
                copies += 1
        else:
            bench.owners[slot], bench.records[slot] = bucket, record
            if document >= old:
                for i in range(min(texts, most)):
                    pairs[found] = pair_of(bench.heads[i], document)
                    found += 1
                left_out += max(texts - most, 0)
            if texts < most:
                bench.heads[texts] = document
            texts += 1
        record += 1
    bench.state[:] = np.array([record, bucket, texts, left_out])
    return found, copies


@piece
def _is_set(bits: np.ndarray, place: int) -> bool:
    return bool(bits[place >> 3] >> (place & 7) & 1)


@kernel
def settle(
    pairs: np.ndarray, scores: np.ndarray, removed: np.ndarray, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decide on the documents `start:start + count` by the sorted pairs of which they are the later ones.

    A document is removed if one of its pairs has an earlier document that stays;
    of those the most alike is its centre, the earliest of equally alike ones.
    `removed` (a bit per document of the run) knows all earlier documents and learns
    these. Returns (chosen int64[count]: the pair that removes a document, or -1;
    sideways bool[pairs]: has a pair's earlier document been removed too?).
    """
    chosen = np.full(count, -1, np.int64)
    sideways = np.zeros(len(pairs), np.bool_)
    for i in range(len(pairs)):
        earlier, later = np.int64(pairs[i] & _LOW), np.int64(pairs[i] >> _HALF)
        if _is_set(removed, earlier):
            sideways[i] = True
            continue
        best = chosen[later - start]
        if best < 0 or scores[i] > scores[best]:
            chosen[later - start] = i
            removed[later >> 3] |= np.uint8(1 << (later & 7))
    return chosen, sideways


@kernel
def survivors(stars: np.ndarray, texts: np.ndarray, near: np.ndarray, bounds: np.ndarray, largest: int) -> np.ndarray:
    """Who stays of each star, the members of which stand in order of preference: bool[members].

    One after the other, a member stays unless it has the words of one that stays, or
    was compared with it and found similar. Star s has the members
    `stars[s]:stars[s + 1]`; member m has the words of text `texts[m]` of its star and
    was compared with the texts `near[bounds[m]:bounds[m + 1]]`, none above `largest`.
    """
    stays = np.zeros(len(texts), np.bool_)
    kept = np.full(largest + 1, -1, np.int64)  # the star in which a text stays
    covered = np.full(largest + 1, -1, np.int64)  # the star in which a text is similar to one that stays
    for star in range(len(stars) - 1):
        for member in range(stars[star], stars[star + 1]):
            lost = covered[texts[member]] == star
            for i in range(bounds[member], bounds[member + 1]):
                lost |= kept[near[i]] == star
            if not lost:
                stays[member] = True
                kept[texts[member]] = covered[texts[member]] = star
                for i in range(bounds[member], bounds[member + 1]):
                    covered[near[i]] = star
    return stays
