"""Whose text tokens are: from ranges of token shards to documents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe.tokens import TokenShard
from dolma_pipe.train.data.chunks import TokenRange


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens `start:end` of a token shard that row `instance` of the order predicted, all of one document."""

    instance: int
    epoch: int
    tokens: str
    token_shard: str
    start: int
    end: int
    id: str
    source: str
    dataset: str
    shard: str
    row: int


class _Table(NamedTuple):
    ends: NDArray[np.int64]
    masked: NDArray[np.bool_]
    documents: pa.Table


class DocumentTables:
    """The documents of token shards; a shard's table is read when it is first asked for."""

    def __init__(self) -> None:
        self._table = lru_cache(maxsize=64)(_read)

    def between(self, shard: TokenShard, tokens: TokenRange) -> Iterator[tuple[int, int, int]]:
        """(start, end, row) of each document's part of a range of a shard's tokens, masked rows left out."""
        ends, masked, _ = self._table(shard)
        first = int(np.searchsorted(ends, tokens.start, side="right"))
        last = int(np.searchsorted(ends, tokens.end - 1, side="right"))
        for row in range(first, last + 1):
            start, end = self._extent(ends, row)
            if not masked[row]:
                yield max(tokens.start, start), min(tokens.end, end), row

    def whole(self, shard: TokenShard, tokens: TokenRange) -> Iterator[TokenRange]:
        """All of each document that has a part in a range of a shard's tokens."""
        for _, _, row in self.between(shard, tokens):
            start, end = self._extent(self._table(shard).ends, row)
            yield tokens._replace(start=start, end=end)

    def names(self, shard: TokenShard, row: int) -> dict[str, Any]:
        """Id, source, and origin of a shard's document."""
        document = self._table(shard).documents.slice(row, 1).to_pylist()[0]
        return {name: document[name] for name in ("id", "source", "dataset", "shard", "row")}

    @staticmethod
    def _extent(ends: NDArray[np.int64], row: int) -> tuple[int, int]:
        return int(ends[row - 1]) if row else 0, int(ends[row])


def _read(shard: TokenShard) -> _Table:
    table = shard.documents()
    return _Table(table["end"].to_numpy(), table["masked"].to_numpy(), table)
