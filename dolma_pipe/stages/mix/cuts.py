"""Which documents a split or a sample takes: those whose draw (see `dolma_pipe.draws`) lies below a cut.

A `Cut` takes the documents below it in the order of (draw, shard, row): with a fraction it is known beforehand,
with a target in bytes it is where the documents, taken in that order, reach the target. To find it in bounded
memory, each shard sums its bytes by the first bits of the draw; only the one bucket in which the target falls
is looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.errors import DataError
from dolma_pipe.stages.mix.sections import read_section, write_sections

UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

BUCKET_BITS = 12
BUCKETS = 1 << BUCKET_BITS
DRAWN = np.dtype([("draw", "<u8"), ("row", "<i8"), ("bytes", "<i8")])


class Cut(msgspec.Struct, frozen=True):
    """The first (draw, shard, row) that is not taken."""

    draw: int
    shard: int = 0
    row: int = 0

    def takes(self, draws: UInt64s, shard: int, rows: npt.NDArray[np.int64]) -> Bools:
        if self.draw >= 1 << 64:
            return np.ones(len(draws), np.bool_)
        bound = np.uint64(self.draw)
        tie = (shard < self.shard) | ((shard == self.shard) & (rows < self.row))
        return (draws < bound) | ((draws == bound) & tie)


NOBODY = Cut(0)


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
    """Write a shard's draws: section 0 holds the bytes per bucket, section 1 + b the documents of bucket b."""
    records = np.empty(len(found), DRAWN)
    records["draw"], records["row"], records["bytes"] = found, rows, sizes
    records = records[np.lexsort((rows, found))]
    buckets = (records["draw"] >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
    bounds = np.searchsorted(buckets, np.arange(BUCKETS + 1))
    total = np.concatenate([[0], np.cumsum(records["bytes"])])
    per_bucket = total[bounds[1:]] - total[bounds[:-1]]
    write_sections(stream, [per_bucket, *(records[bounds[b] : bounds[b + 1]] for b in range(BUCKETS))])


def choose(paths: Sequence[tuple[int, str]], target: int, where: str) -> Cut:
    """The cut at which the scattered documents reach `target` bytes.

    `paths` are (shard number, file). Raises `DataError`, naming `where`, when all of them together hold less.
    """
    per_bucket = np.zeros(BUCKETS, np.int64)
    for _, path in paths:
        per_bucket += read_section(path, 0, np.int64)
    reached = np.cumsum(per_bucket)
    if reached[-1] < target:
        raise DataError(
            f"{where}: {int(reached[-1]):,} bytes of text are left for a split of {target:,}; make it smaller"
        )
    bucket = int(np.searchsorted(reached, target))
    parts = [(number, read_section(path, 1 + bucket, DRAWN)) for number, path in paths]
    records = np.concatenate([part for _, part in parts])
    shards = np.repeat([number for number, _ in parts], [len(part) for _, part in parts])
    order = np.lexsort((records["row"], shards, records["draw"]))
    below = int(reached[bucket] - per_bucket[bucket])
    sums = below + np.cumsum(records["bytes"][order])
    last = int(np.searchsorted(sums, target))
    record = records[order[last]]
    return Cut(int(record["draw"]), int(shards[order[last]]), int(record["row"]) + 1)
