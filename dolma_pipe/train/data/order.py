"""In which order chunks are shown: a function of (folders, mixture, seed, position), without state.

An *instance* is a place in the order, numbered from 0. Every epoch of a folder is a permutation of its chunks under
its own key, and folders are interleaved in blocks that hold them in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolma_pipe.config import fingerprint
from dolma_pipe.train.config import DataSource
from dolma_pipe.train.data.chunks import Chunks
from dolma_pipe.train.data.permutation import key_of, permute

BLOCK = 1024
"""Instances in which folders are mixed in proportion: a share is exact to one instance at every multiple of it."""


class Place(NamedTuple):
    """What an instance shows: chunk `chunk` of folder `folder`, on pass `epoch` over it."""

    folder: int
    epoch: int
    chunk: int


class Interleaving:
    """Which of several sources each instance shows: in every block they are mixed in proportion to their shares.

    `key` names the order; `total` is the number of instances (None: no end).
    """

    def __init__(self, shares: Sequence[Fraction], key: str, total: int | None = None) -> None:
        self._shares, self._key, self._total = shares, key, total
        self._block = lru_cache(maxsize=8)(self._interleaved)

    def of(self, instances: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each instance's source, and how many instances showed that source before."""
        if len(self._shares) == 1:
            return np.zeros(len(instances), np.int64), instances
        found = [self._in_block(int(instance)) for instance in instances]
        return np.array([source for source, _ in found]), np.array([ordinal for _, ordinal in found])

    def shown(self, instances: int) -> list[int]:
        """How many of the first so many instances show each source."""
        if self._total is not None:
            instances = min(instances, self._total)
        if len(self._shares) == 1:
            return [instances]
        block = self._block_of(instances)
        counts = self._before(block)
        sources = self._block(block)[0][: instances - sum(counts)]
        return [count + int((sources == source).sum()) for source, count in enumerate(counts)]

    def _in_block(self, instance: int) -> tuple[int, int]:
        block = self._block_of(instance)
        sources, ordinals = self._block(block)
        row = instance - sum(self._before(block))
        return int(sources[row]), int(ordinals[row])

    def _block_of(self, instance: int) -> int:
        block = instance // BLOCK  # cumulative counts are rounded down, so the block is this one or a later one
        while sum(self._before(block + 1)) <= instance and not self._is_last(block):
            block += 1
        return block

    def _is_last(self, block: int) -> bool:
        return self._total is not None and block * BLOCK >= self._total

    def _before(self, block: int) -> list[int]:
        """How many instances of each source the blocks before this one hold."""
        instances = block * BLOCK if self._total is None else min(block * BLOCK, self._total)
        return [int(share * instances) for share in self._shares]

    def _interleaved(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        before, after = self._before(block), self._before(block + 1)
        sources = np.repeat(np.arange(len(before)), [high - low for low, high in zip(before, after, strict=True)])
        ordinals = np.concatenate([np.arange(low, high) for low, high in zip(before, after, strict=True)])
        if not len(sources):
            return sources, ordinals
        rows = permute(np.arange(len(sources)), len(sources), key_of(self._key, "block", block))
        return sources[rows], ordinals[rows]


class Order:
    """The order of instances over chunked folders; of each, so many chunks have been `seen` before its first one."""

    def __init__(
        self,
        folders: Sequence[Chunks],
        sources: Sequence[DataSource],
        seed: int,
        seen: Sequence[int] | None = None,
        name: str = "",
    ) -> None:
        self._counts = [chunks.count for chunks in folders]
        self._seen = [0] * len(folders) if seen is None else list(seen)
        self._epochs = [None if source.epochs is None else Fraction(str(source.epochs)) for source in sources]
        finite = [-(-count * epochs // 1) for count, epochs in zip(self._counts, self._epochs, strict=True) if epochs]
        self.total: int | None = sum(finite) if finite else None
        """Instances until every folder has had its epochs; None if they may be repeated for ever."""
        weights = [Fraction(n) for n in finite] or [Fraction(str(source.share or 1)) for source in sources]
        self._shares = [weight / sum(weights) for weight in weights]
        self._keys = [f"{seed}/{chunks.hash}" for chunks in folders]
        mixture = f"{seed}/{fingerprint([self._keys, [str(share) for share in self._shares]])}{name}"
        self._folders = Interleaving(self._shares, mixture, self.total)

    def places(self, instances: NDArray[np.int64]) -> list[Place]:
        """What each instance shows; folders are numbered as they were given."""
        folders, ordinals = self._folders.of(instances)
        places: list[Place | None] = [None] * len(instances)
        for folder, count in enumerate(self._counts):
            epochs, positions = np.divmod(ordinals + self._seen[folder], count)
            for epoch in np.unique(epochs[folders == folder]):
                rows = np.flatnonzero((folders == folder) & (epochs == epoch))
                chunks = permute(positions[rows], count, key_of(self._keys[folder], "epoch", int(epoch)))
                for row, chunk in zip(rows, chunks, strict=True):
                    places[row] = Place(folder, int(epoch), int(chunk))
        return [place for place in places if place is not None]

    def passes(self, instances: int) -> list[float]:
        """How often each folder is seen in so many instances."""
        return [float(share * instances / count) for share, count in zip(self._shares, self._counts, strict=True)]

    def shown(self, instances: int) -> list[int]:
        """How many of the first so many instances show each folder."""
        return self._folders.shown(instances)
