"""Training straight from documents: a stream of tokens that is made while it is read, in an order that is a function.

Every epoch shows all shards of documents in an order of its own, and within each its documents in an order of theirs;
both are keyed permutations, as for token folders. The stream is every epoch's tokens behind one another; row n of
length s predicts its tokens [n*s + 1, (n + 1)*s + 1), so batch size, ranks and sequence length change nothing, and the
position to resume from is one number. What each shard comes to is remembered in the checkpoint, so that a run which
goes on reads no shard that it is through with. Every rank encodes every shard that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.train.checkpoints.lineage import code
from dolma_pipe.train.data.chunks import IGNORED, TokenRange
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.data.loader import Batch
from dolma_pipe.train.data.permutation import key_of, permute
from dolma_pipe.types import Plain

SHARDS_KEPT = 4
"""Shards whose tokens stay in memory."""


class TextShard(Protocol):
    """The tokens of a shard's documents behind one another, where each ends, its id, its row, and whether it was taken
    down (then it keeps its place as padding); the file's hash."""

    @property
    def tokens(self) -> NDArray[np.int64]: ...
    @property
    def ends(self) -> NDArray[np.int64]: ...
    @property
    def ids(self) -> list[str]: ...
    @property
    def rows(self) -> list[int]: ...
    @property
    def gone(self) -> NDArray[np.bool_]: ...
    @property
    def hash(self) -> str: ...


class TextSource(Protocol):
    """Shards of documents, by number, as tokens (`dolma_pipe.kept_text`)."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def padding_id(self) -> int: ...
    @property
    def names(self) -> list[str]: ...
    def identity(self) -> dict[str, Plain]: ...
    def read(self, number: int) -> Any: ...


class _Shuffled(NamedTuple):
    """A shard's tokens in the order of an epoch; `documents` [n] are the numbers of the documents, in that order."""

    tokens: NDArray[np.int64]
    ends: NDArray[np.int64]
    documents: NDArray[np.int64]
    excluded: NDArray[np.bool_]


class _Piece(NamedTuple):
    """Tokens [low, high) of a shard as an epoch has it; `at` is the first one's place in the stream."""

    epoch: int
    shard: int
    low: int
    high: int
    at: int


class TextStream:
    """The endless stream of a source's documents."""

    def __init__(self, source: TextSource, sequence_length: int, seed: int, within_documents: bool = False) -> None:
        self.source, self.seed, self.within_documents = source, seed, within_documents
        self.sequence_length = sequence_length
        self._names = source.names
        self._identity = source.identity()
        self._key = f"{seed}/{fingerprint(self._identity)}"
        self._sizes: dict[int, tuple[int, str]] = {}
        self._excluded: set[tuple[str, int]] = set()
        self._read = lru_cache(maxsize=SHARDS_KEPT)(self._read_shard)
        self._shuffled = lru_cache(maxsize=SHARDS_KEPT)(self._shuffle)
        self._order = lru_cache(maxsize=SHARDS_KEPT)(self._permuted)

    def batch(self, first: int, size: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> Batch:
        """A rank's share of the `size` rows from `first` on, `length` positions each."""
        length = length or self.sequence_length
        start = first * length
        tokens, excluded, epochs = self._window(start, start + size * length + 1)
        labels = np.where(excluded, IGNORED, tokens)[1:].reshape(size, length)[rank::world_size].copy()
        inputs = np.where(excluded, self.source.padding_id, tokens)[:-1].reshape(size, length)[rank::world_size].copy()
        again = (epochs[:-1:length] > 0)[rank::world_size].astype(np.int64)
        documents = None
        if self.within_documents:
            ends = inputs == self.source.eos_id
            labels[ends] = IGNORED
            documents = torch.from_numpy(np.cumsum(ends, axis=1) - ends)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(again), documents)

    def identity(self) -> dict[str, Plain]:
        """What the order depends on; equal for equal orders."""
        return {**self._identity, "seed": self.seed, "within_documents": self.within_documents}

    def memory(self) -> dict[str, Plain]:
        """What the shards that were read come to: tokens, and the file's hash."""
        return {self._names[number]: list(found) for number, found in sorted(self._sizes.items())}

    def remember(self, memory: dict[str, Plain]) -> None:
        """Know of shards what a run knew before it was stopped."""
        numbers = {name: number for number, name in enumerate(self._names)}
        for name, (tokens, digest) in memory.items():
            self._sizes[numbers[name]] = (tokens, digest)

    def lineage(self) -> dict[str, Plain]:
        return {"code": code(), "documents": self._identity}

    def documents(self, first: int, size: int, length: int) -> list[Traced]:
        """Whose tokens `size` rows from `first` on predict, in the order of the rows."""
        found: list[Traced] = []
        for row in range(first, first + size):
            for piece in self._pieces(row * length + 1, (row + 1) * length + 1):
                found += self._traced(row, piece)
        return found

    def exclude(self, found: Sequence[Traced]) -> list[TokenRange]:
        """Show these documents no more; as ranges of rows of their shards."""
        ranges = {TokenRange(one.tokens, one.token_shard, one.row, one.row + 1): None for one in found}
        for one in ranges:
            self.exclude_tokens(one)
        return list(ranges)

    def exclude_tokens(self, tokens: TokenRange) -> None:
        """Show the documents in these rows of a shard no more."""
        self._excluded |= {(f"{tokens.folder}/{tokens.shard}", row) for row in range(tokens.start, tokens.end)}
        self._shuffled.cache_clear()

    def _traced(self, row: int, piece: _Piece) -> Iterator[Traced]:
        shuffled, shard = self._shuffled(piece.epoch, piece.shard), self._read(piece.shard)
        dataset, _, name = self._names[piece.shard].partition("/")
        first = int(np.searchsorted(shuffled.ends, piece.low, side="right"))
        last = int(np.searchsorted(shuffled.ends, piece.high - 1, side="right"))
        for place in range(first, last + 1):
            document = int(shuffled.documents[place])
            if shard.gone[document]:
                continue
            start = int(shuffled.ends[place - 1]) if place else 0
            yield Traced(
                instance=row, epoch=piece.epoch, tokens=dataset, token_shard=name, id=shard.ids[document],
                start=max(piece.low, start), end=min(piece.high, int(shuffled.ends[place])),
                source=dataset, dataset=dataset, shard=name, row=shard.rows[document],
            )  # fmt: skip

    def _window(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Tokens [start, end) of the stream, which of them are excluded, and the epoch of each."""
        tokens, epochs = np.empty(end - start, np.int64), np.empty(end - start, np.int64)
        excluded = np.empty(end - start, np.bool_)
        for piece in self._pieces(start, end):
            part = slice(piece.at - start, piece.at - start + piece.high - piece.low)
            shuffled = self._shuffled(piece.epoch, piece.shard)
            tokens[part] = shuffled.tokens[piece.low : piece.high]
            excluded[part] = shuffled.excluded[piece.low : piece.high]
            epochs[part] = piece.epoch
        return tokens, excluded, epochs

    def _pieces(self, start: int, end: int) -> Iterator[_Piece]:
        epoch, base = self._epoch_of(start)
        while base < end:
            begin = base
            for shard in self._order(epoch):
                size = self._size(shard)
                low, high = max(start - base, 0), min(end - base, size)
                if low < high:
                    yield _Piece(epoch, shard, low, high, base + low)
                base += size
                if base >= end:
                    return
            if base == begin:
                raise DataError("documents: no document of any shard passes the rules; there is nothing to train on")
            epoch += 1

    def _epoch_of(self, start: int) -> tuple[int, int]:
        """An epoch no later than that of a place in the stream, and where it begins; its own once shards are known."""
        if len(self._sizes) < len(self._names):
            return 0, 0
        total = sum(size for size, _ in self._sizes.values())
        return (start // total, start // total * total) if total else (0, 0)

    def _permuted(self, epoch: int) -> list[int]:
        count = len(self._names)
        return permute(np.arange(count), count, key_of(self._key, "epoch", epoch)).tolist()

    def _size(self, number: int) -> int:
        if number not in self._sizes:
            self._read(number)
        return self._sizes[number][0]

    def _read_shard(self, number: int) -> TextShard:
        shard: TextShard = self.source.read(number)
        known = self._sizes.setdefault(number, (len(shard.tokens), shard.hash))
        if known != (len(shard.tokens), shard.hash):
            raise DataError(f"{self._names[number]}: the documents are not those that this run has seen; restore them")
        return shard

    def _shuffle(self, epoch: int, number: int) -> _Shuffled:
        shard, name = self._read(number), self._names[number]
        count = len(shard.ends)
        order = permute(np.arange(count), count, key_of(self._key, "documents", epoch, name))
        starts = np.concatenate([[0], shard.ends[:-1]])
        sizes = (shard.ends - starts)[order]
        tokens = np.concatenate([shard.tokens[starts[one] : shard.ends[one]] for one in order])
        out = np.array([shard.gone[one] or (name, shard.rows[one]) in self._excluded for one in order], np.bool_)
        return _Shuffled(tokens, np.cumsum(sizes), order, np.repeat(out, sizes))
