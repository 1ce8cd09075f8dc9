"""A sample of documents up to so many bytes, in two passes over their draws and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Names = NDArray[np.object_]
"""The source of each document of a batch."""

ALL = ""


class Sample:
    """The documents with the lowest draws (ties: the earlier), as many as reach `target` bytes."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._kept = np.empty(0, [("draw", "<u8"), ("number", "<i8"), ("bytes", "<i8")])
        self._new: list[NDArray[Any]] = []
        self._seen = 0
        self._pending = 0

    def add(self, found: NDArray[np.uint64], sizes: NDArray[np.int64]) -> None:
        """The next documents, by their draws and bytes."""
        more = np.empty(len(found), self._kept.dtype)
        more["draw"], more["bytes"] = found, sizes
        more["number"] = np.arange(self._seen, self._seen + len(found))
        self._seen += len(found)
        self._new.append(more)
        self._pending += len(more)
        if self._pending > max(1 << 20, len(self._kept)):
            self.settle()

    def settle(self) -> None:
        """Forget what cannot be taken any more."""
        self._kept = np.concatenate([self._kept, *self._new])
        self._new, self._pending = [], 0
        self._kept = self._kept[np.argsort(self._kept["draw"], kind="stable")]
        before = np.cumsum(self._kept["bytes"]) - self._kept["bytes"]
        self._kept = self._kept[before < self._target]

    def takes(self, found: NDArray[np.uint64], first: int) -> NDArray[np.bool_]:
        """Which of the documents from number `first` on are in the sample, by their draws."""
        if not len(self._kept):
            return np.zeros(len(found), np.bool_)
        last = self._kept[-1]
        numbers = np.arange(first, first + len(found))
        return (found < last["draw"]) | ((found == last["draw"]) & (numbers <= last["number"]))


class Samples:
    """One sample of all documents, or with weights one per source, of its share of `target` bytes.

    Tell it all documents (`add`), `settle`, and then ask for the same documents in the same order (`takes`).
    """

    def __init__(self, target: int, weights: Mapping[str, float]) -> None:
        whole = sum(weights.values())
        shares = {source: int(target * weight / whole) for source, weight in weights.items()} or {ALL: target}
        self._samples = {source: Sample(max(share, 1)) for source, share in shares.items()}
        self._asked = dict.fromkeys(self._samples, 0)
        self._by_source = bool(weights)
        self.seen: set[str] = set()

    @property
    def unseen(self) -> list[str]:
        """Sources with a weight that no document is of."""
        return [source for source in self._samples if self._by_source and source not in self.seen]

    def add(self, sources: Names, found: NDArray[np.uint64], sizes: NDArray[np.int64]) -> None:
        """The next documents, by their sources, draws and bytes."""
        self.seen |= set(sources.tolist())
        for source, rows in self._rows(sources):
            self._samples[source].add(found[rows], sizes[rows])

    def settle(self) -> None:
        for sample in self._samples.values():
            sample.settle()

    def takes(self, sources: Names, found: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the next documents are in the sample; those of sources without a weight are not."""
        taken = np.zeros(len(found), np.bool_)
        for source, rows in self._rows(sources):
            taken[rows] = self._samples[source].takes(found[rows], self._asked[source])
            self._asked[source] += len(rows)
        return taken

    def _rows(self, sources: Names) -> Iterator[tuple[str, NDArray[np.intp]]]:
        for source in self._samples:
            yield source, np.flatnonzero(sources == source) if self._by_source else np.arange(len(sources))
