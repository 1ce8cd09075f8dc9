"""Where documents go: what lies in which shard, as documents come in their order.

A layout takes documents (`order.ORDERED`) and gives pieces (`PIECE`) of them, for one or more *tracks*: rows of
shards that are filled independently. `starts[track]` are the numbers of the pieces that begin its shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = np.dtype(
    [(name, "<u4") for name in ("run", "row", "begin", "tokens", "length", "part", "parts")]
)  # fmt: skip
"""Tokens [begin, begin + tokens) of a document of `length`. Padding has 0 parts, and the run and row of a neighbour."""

Placed = Iterator[tuple[int, NDArray[Any]]]


def whole(documents: NDArray[Any]) -> NDArray[Any]:
    """Every document as one piece."""
    found = np.zeros(len(documents), PIECE)
    for name in ("run", "row", "tokens"):
        found[name] = documents[name]
    found["length"], found["parts"] = documents["tokens"], 1
    return found


def padded(piece: Any, tokens: int) -> NDArray[Any]:
    """Padding beside a piece."""
    found = np.zeros(1, PIECE)
    found["run"], found["row"], found["tokens"] = piece["run"], piece["row"], tokens
    return found


class Stream:
    """Documents behind one another.

    A shard closes at the last document end at or below its target size. Only a document longer than that is cut:
    it begins a shard, fills as many as it can, and others follow its last part.
    """

    lengths: tuple[int | None, ...] = (None,)

    def __init__(self, target: int) -> None:
        self.target = target
        self.starts: list[list[int]] = [[0]]
        self.documents = self.tokens = self.padding = self.sequences = 0
        self._begin = self._pieces = 0

    def add(self, documents: NDArray[Any]) -> Placed:
        """The pieces of the next documents, by track."""
        lengths = documents["tokens"].astype(np.int64)
        ends = self.tokens + np.cumsum(lengths)
        placed: list[NDArray[Any]] = []
        first = 0
        while (over := int(np.searchsorted(ends, self._begin + self.target, side="right"))) < len(ends):
            before = int(ends[over - 1]) if over else self.tokens
            placed.append(self._count(whole(documents[first:over])))
            if before > self._begin:
                first, self._begin = over, before
                self.starts[0].append(self._pieces)
            else:
                placed.append(self._cut(documents[over : over + 1]))
                first, self._begin = over + 1, before + (int(lengths[over]) - 1) // self.target * self.target
        placed.append(self._count(whole(documents[first:])))
        self.documents += len(ends)
        self.tokens = int(ends[-1]) if len(ends) else self.tokens
        yield 0, np.concatenate(placed)

    def finish(self) -> Placed:
        """What comes after the last document."""
        yield from ()

    def _count(self, pieces: NDArray[Any]) -> NDArray[Any]:
        self._pieces += len(pieces)
        return pieces

    def _cut(self, document: NDArray[Any]) -> NDArray[Any]:
        """The parts of a document longer than a shard, each of which begins one."""
        found = parts_of(whole(document), self.target)
        self.starts[0] += range(self._pieces + 1, self._pieces + len(found))
        return self._count(found)


def parts_of(pieces: NDArray[Any], size: int) -> NDArray[Any]:
    """Whole documents in parts of `size`; the last part of each is what is left."""
    counts = np.maximum(-(-pieces["length"].astype(np.int64) // size), 1)
    found = np.repeat(pieces, counts)
    found["part"] = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    found["parts"] = np.repeat(counts, counts)
    found["begin"] = found["part"].astype(np.int64) * size
    found["tokens"] = np.minimum(found["length"] - found["begin"], size)
    return found


class Concatenated:
    """Documents behind one another in shards that are whole sequences: cut where a shard is full, the end padded."""

    def __init__(self, target: int, sequence_length: int) -> None:
        self.lengths: tuple[int | None, ...] = (sequence_length,)
        self.target = max(target // sequence_length, 1) * sequence_length
        self.starts: list[list[int]] = [[0]]
        self.documents = self.tokens = self.padding = 0
        self._pieces = 0
        self._last: Any = None

    @property
    def sequences(self) -> int:
        return self.tokens // (self.lengths[0] or 1)

    def add(self, documents: NDArray[Any]) -> Placed:
        lengths = documents["tokens"].astype(np.int64)
        ends = self.tokens + np.cumsum(lengths)
        starts = ends - lengths
        counts = (ends - 1) // self.target - starts // self.target + 1
        found = np.repeat(whole(documents), counts)
        part = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
        shard, offset = np.repeat(starts // self.target, counts) + part, np.repeat(starts, counts)
        begin = np.maximum(shard * self.target - offset, 0)
        found["part"], found["parts"], found["begin"] = part, np.repeat(counts, counts), begin
        found["tokens"] = np.minimum((shard + 1) * self.target - offset, found["length"]) - begin
        fresh = np.flatnonzero((begin + offset) % self.target == 0) + self._pieces
        self.starts[0] += fresh[fresh > 0].tolist()
        self.documents += len(documents)
        self._pieces += len(found)
        if len(found):
            self.tokens, self._last = int(ends[-1]), found[-1]
        yield 0, found

    def finish(self) -> Placed:
        self.padding = -self.tokens % (self.lengths[0] or 1)
        self.tokens += self.padding
        if self.padding:
            yield 0, padded(self._last, self.padding)


class BestFit:
    """Documents in sequences that none of them leaves, unless it is longer than the longest: then its parts fill some.

    Each document goes to the shortest of the sequence lengths that holds it, a track each. The documents that come at
    once are packed together; their sequences follow one another as their first documents did.
    """

    def __init__(self, target: int, lengths: Sequence[int]) -> None:
        self.lengths: tuple[int | None, ...] = tuple(lengths)
        self._lengths = np.array(lengths, np.int64)
        self._per_shard = [max(target // length, 1) for length in lengths]
        self.starts: list[list[int]] = [[] for _ in lengths]
        self.documents = self.tokens = self.padding = self.sequences = 0
        self._filled = [0] * len(lengths)
        self._pieces = [0] * len(lengths)

    def add(self, documents: NDArray[Any]) -> Placed:
        self.documents += len(documents)
        track = np.minimum(np.searchsorted(self._lengths, documents["tokens"]), len(self._lengths) - 1)
        for number, length in enumerate(self._lengths.tolist()):
            pieces = parts_of(whole(documents[track == number]), length)
            if len(pieces):
                yield number, self._packed(number, pieces, length)

    def finish(self) -> Placed:
        yield from ()

    def _packed(self, track: int, pieces: NDArray[Any], length: int) -> NDArray[Any]:
        from dolma_pipe.kernels.packing import best_fit

        by_size = np.argsort(-pieces["tokens"].astype(np.int64), kind="stable")
        bins = np.empty(len(pieces), np.int64)
        bins[by_size] = best_fit(pieces["tokens"][by_size].astype(np.int64), length)
        _, first, numbers = np.unique(bins, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        sequence = rank[numbers]
        order = np.argsort(sequence, kind="stable")
        return self._closed(track, pieces[order], sequence[order], length)

    def _closed(self, track: int, pieces: NDArray[Any], sequence: NDArray[Any], length: int) -> NDArray[Any]:
        """The pieces of sequences (numbered from 0, in order) with padding behind those that are not full."""
        room = length - np.bincount(sequence, pieces["tokens"]).astype(np.int64)
        ends = np.flatnonzero(np.diff(sequence, append=-1))
        lacking = np.flatnonzero(room)
        padding = np.zeros(len(lacking), PIECE)
        neighbours = pieces[ends[lacking]]
        padding["run"], padding["row"], padding["tokens"] = neighbours["run"], neighbours["row"], room[lacking]
        found = np.insert(pieces, ends[lacking] + 1, padding)
        sequence = np.insert(sequence, ends[lacking] + 1, lacking)
        begins = np.flatnonzero(np.diff(sequence, prepend=-1))
        due = (self._filled[track] + sequence[begins]) % self._per_shard[track] == 0
        self.starts[track] += (begins[due] + self._pieces[track]).tolist()
        self._filled[track] += len(room)
        self._pieces[track] += len(found)
        self.sequences += len(room)
        self.padding += int(room.sum())
        self.tokens += len(room) * length
        return found


Layout = Stream | Concatenated | BestFit


def make_layout(pack: str | None, shard_tokens: int, lengths: Sequence[int]) -> Layout:
    """The layout that a configuration asks for."""
    if pack is None:
        return Stream(shard_tokens)
    return Concatenated(shard_tokens, lengths[0]) if pack == "concatenate" else BestFit(shard_tokens, lengths)
