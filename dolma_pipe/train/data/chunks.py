"""A token folder as chunks of its stream of tokens.

A folder's shards are one stream of T tokens, cut into ceil((T - 1) / S) chunks of S inputs. A chunk's labels are its
inputs moved on by one, the next chunk's first token included, so an epoch predicts every token but the stream's first
exactly once; nothing is dropped, and the last chunk is padded with labels that do not count. A chunk may cross
document and shard boundaries. Excluded tokens keep their places: as inputs they are padding, as labels they do not
count. Where documents were fitted into sequences, what follows a sequence is no label of it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TokenSet, TokenShard
from dolma_pipe.train.sources import SourceNames

IGNORED = -100
"""The label of a position that does not count (PyTorch's default `ignore_index`)."""


class TokenRange(NamedTuple):
    """Tokens [start, end) of one shard of a folder."""

    folder: str
    shard: str
    start: int
    end: int


class Chunks:
    """A token folder as fixed-length chunks of its stream, which can be read in parts.

    Of a folder whose shards have sequences of several lengths, `bucket` says which ones are the stream.
    """

    def __init__(self, folder: str, tokens: TokenSet, length: int, bucket: int | None = None) -> None:
        self.folder = folder
        self.bucket = bucket
        self.tokens = tokens = tokens if bucket is None else tokens.bucket(bucket)
        self.length = length
        self.hash = tokens.hash
        self._maps = [shard.map() for shard in tokens.shards]
        self._starts = [0, *accumulate(len(shard) for shard in tokens.shards)]
        self._shards = {shard.name: number for number, shard in enumerate(tokens.shards)}
        self.total = self._starts[-1]
        self.count = -(-(self.total - 1) // length)
        if self.count < 1:
            raise DataError(f"{self.name}: {self.total} tokens are too few to predict one; tokenize more text")
        packing = tokens.manifest.packing
        self._fitted: int | None = None
        if packing is not None and packing.method == "best-fit":
            self._fitted = bucket or packing.sequence_lengths[0]
        pad = tokens.manifest.pad_id
        self._padding = tokens.manifest.eos_id if pad is None else pad
        self._excluded = _merged([(base + low, base + high) for base, low, high in self._masked()])

    def _masked(self) -> Iterator[tuple[int, int, int]]:
        """What the folder itself excludes (padding, documents taken down): start of the shard, then tokens of it."""
        for base, shard in zip(self._starts, self.tokens.shards, strict=False):
            for start, end in shard.masked().tolist() if self.tokens.manifest.masked else ():
                yield base, start, end

    def read(self, chunk: int, inputs: NDArray[np.int64], labels: NDArray[np.int64], offset: int = 0) -> None:
        """Fill `inputs` and `labels` (of equal length) with the part of a chunk that begins at `offset`."""
        start = min(chunk * self.length + offset, self.total - 1)
        window = self._window(start, min(start + len(inputs) + 1, self.total))
        size = len(window) - 1
        inputs[:size], labels[:size] = window[:-1], window[1:]
        inputs[size:], labels[size:] = self._padding, IGNORED
        for low, high in self._excluded_between(start, start + size + 1):
            hidden = inputs[low - start : high - start]
            hidden[hidden != self.tokens.manifest.eos_id] = self._padding  # end-of-text keeps documents apart
            labels[max(low - start - 1, 0) : high - start - 1] = IGNORED
        if self._fitted is not None:
            labels[-(start + 1) % self._fitted :: self._fitted] = IGNORED

    def sources(self, chunk: int, names: SourceNames, sources: NDArray[np.int64], offset: int = 0) -> None:
        """Fill `sources` with the number of the source of each label of that part of a chunk."""
        at = 0
        start = chunk * self.length + offset + 1
        for shard, low, high in self._pieces(start, min(start + len(sources), self.total)):
            sources[at : at + high - low] = names.of(self.tokens.shards[shard], low, high)
            at += high - low

    def ranges(self, chunk: int, offset: int = 0, length: int | None = None) -> list[TokenRange]:
        """The shards and tokens whose prediction a part of a chunk trains, which are its labels."""
        length = length or self.length
        start = chunk * self.length + offset + 1
        end = min(start + length - (length == self._fitted), self.total)
        return [
            TokenRange(self.folder, self.tokens.shards[shard].name, low, high)
            for shard, low, high in self._pieces(start, end)
        ]

    @property
    def name(self) -> str:
        """The folder, and which of its sequences."""
        return self.folder if self.bucket is None else f"{self.folder} (sequences of {self.bucket})"

    def holds(self, tokens: TokenRange) -> bool:
        return tokens.folder == self.folder and tokens.shard in self._shards

    def shard(self, name: str) -> TokenShard:
        return self.tokens.shards[self._shards[name]]

    def exclude(self, shard: str, start: int, end: int) -> None:
        """Show tokens `start:end` of a shard no more."""
        base = self._starts[self._shards[shard]]
        self._excluded = _merged([*self._excluded, (base + start, base + end)])

    def _excluded_between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        at = bisect.bisect_right(self._excluded, (start, start)) - 1
        for low, high in self._excluded[max(at, 0) :]:
            if low >= end:
                return
            if high > start:
                yield max(low, start), min(high, end)

    def _window(self, start: int, end: int) -> NDArray[np.int64]:
        pieces = [self._maps[shard][low:high] for shard, low, high in self._pieces(start, end)]
        return np.concatenate(pieces).astype(np.int64)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        shard = bisect.bisect_right(self._starts, start) - 1
        while start < end:
            base, stop = self._starts[shard], min(end, self._starts[shard + 1])
            if stop > start:
                yield shard, start - base, stop - base
            start, shard = stop, shard + 1


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
