"""Which documents a split, a limit or a sample takes: those whose draw (see `dolma_pipe.draws`) lies below a cut.

A `Cut` takes the documents below it in the order of (draw, shard, row): with a fraction it is known beforehand,
with a target in bytes, tokens or documents it is where the documents, taken in that order, reach the target. To find
it in bounded memory, each shard sums its sizes by the first bits of the draw; only the one bucket in which the target
falls is looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.stages.mix.sections import read_section, write_sections

Array = npt.NDArray[Any]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

BUCKET_BITS = 12
BUCKETS = 1 << BUCKET_BITS
DRAWN = np.dtype([("draw", "<u8"), ("row", "<i8"), ("size", "<i8")])
End = Literal["reach", "within", "group"]
"""Where a target ends: behind the document that reaches it, before the one that exceeds it, behind a whole group."""


class Cut(msgspec.Struct, frozen=True):
    """The first (draw, shard, row) that is not taken."""

    draw: int
    shard: int = 0
    row: int = 0

    def takes(self, draws: UInt64s, shard: int, rows: npt.NDArray[np.int64]) -> Bools:
        bound = np.uint64(self.draw)
        tie = (shard < self.shard) | ((shard == self.shard) & (rows < self.row))
        return (draws < bound) | ((draws == bound) & tie)


NOBODY = Cut(0)
EVERYBODY = Cut((1 << 64) - 1, 1 << 62)


class Copies(msgspec.Struct, frozen=True):
    """How often documents are taken: all of them `whole` times, those that `cut` takes once more."""

    whole: int = 1
    cut: Cut = NOBODY


def fraction_cut(fraction: float) -> Cut:
    """Takes each document with this probability (0..1)."""
    return Cut(int(fraction * 2.0**64))


def epochs_copies(epochs: float) -> Copies:
    """1.5: every document once, and half of them twice."""
    return Copies(int(epochs), fraction_cut(epochs - int(epochs)))


def scatter(stream: Any, found: UInt64s, rows: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
    """Write a shard's draws: section 0 holds the size per bucket, section 1 + b the documents of bucket b."""
    records = np.empty(len(found), DRAWN)
    records["draw"], records["row"], records["size"] = found, rows, sizes
    records = records[np.lexsort((rows, found))]
    buckets = (records["draw"] >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
    bounds = np.searchsorted(buckets, np.arange(BUCKETS + 1))
    total = np.concatenate([[0], np.cumsum(records["size"])])
    per_bucket = total[bounds[1:]] - total[bounds[:-1]]
    write_sections(stream, [per_bucket, *(records[bounds[b] : bounds[b + 1]] for b in range(BUCKETS))])


def choose(paths: Sequence[tuple[int, str]], target: int, end: End = "reach") -> tuple[Cut, int]:
    """The cut at which the scattered documents make `target`, and what all of them together hold.

    `paths` are (shard number, file). Where all hold less, everybody is taken.
    """
    per_bucket = np.zeros(BUCKETS, np.int64)
    for _, path in paths:
        per_bucket += read_section(path, 0, np.int64)
    reached = np.cumsum(per_bucket)
    whole = int(reached[-1])
    # of documents that may not exceed the target, the first one that does is looked for
    sought = target + 1 if end == "within" else target
    if whole < sought:
        return EVERYBODY, whole
    bucket = int(np.searchsorted(reached, sought))
    parts = [(number, read_section(path, 1 + bucket, DRAWN)) for number, path in paths]
    records = np.concatenate([part for _, part in parts])
    shards = np.repeat([number for number, _ in parts], [len(part) for _, part in parts])
    order = np.lexsort((records["row"], shards, records["draw"]))
    below = int(reached[bucket] - per_bucket[bucket])
    last = order[int(np.searchsorted(below + np.cumsum(records["size"][order]), sought))]
    return _ending(int(records["draw"][last]), int(shards[last]), int(records["row"][last]), end), whole


def _ending(draw: int, shard: int, row: int, end: End) -> Cut:
    """The cut at the document with which the target is reached."""
    if end == "group":
        return Cut(draw + 1) if draw < EVERYBODY.draw else EVERYBODY
    return Cut(draw, shard, row + (end == "reach"))
