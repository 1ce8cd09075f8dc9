"""Loss by source while a model trains: which source a label's text is of, and sums that ranks add up now and then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TokenSet, TokenShard
from dolma_pipe.train.parallel import World


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a source and their mean loss in nats, and in bits per byte by the source's own tokens per byte."""

    tokens: int
    loss: float
    bits_per_byte: float


class SourceLoss(msgspec.Struct, frozen=True, kw_only=True):
    """A source since the last report: what was seen for the first time, and what was seen before; None: nothing."""

    first: Exposure | None = None
    again: Exposure | None = None


class _Table(NamedTuple):
    """Where the documents of a shard end, and the number of each one's source."""

    ends: NDArray[np.int64]
    sources: NDArray[np.int16]


class SourceNames:
    """Numbers for the sources of token folders, and the source of any token."""

    def __init__(self, folders: Sequence[TokenSet]) -> None:
        totals: dict[str, list[int]] = {}
        for folder in folders:
            for name, total in folder.manifest.sources.items():
                tokens, size = totals.setdefault(name, [0, 0])
                totals[name] = [tokens + total.tokens, size + total.bytes]
        self.names = sorted(totals)
        self.tokens_per_byte = [totals[name][0] / max(totals[name][1], 1) for name in self.names]
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._table = lru_cache(maxsize=None)(self._read)

    def of(self, shard: TokenShard, start: int, end: int) -> NDArray[np.int64]:
        """The number of the source of each token `start:end` of a shard."""
        table = self._table(shard)
        rows = np.searchsorted(table.ends, np.arange(start, end), side="right")
        return table.sources[rows].astype(np.int64)

    def _read(self, shard: TokenShard) -> _Table:
        table = shard.documents()
        column = table["source"].combine_chunks()
        names: list[str] = column.dictionary.to_pylist()
        unknown = [name for name in names if name not in self._numbers]
        if unknown:
            raise DataError(f"{shard.path}: its documents are of {unknown[0]!r}, which the manifest does not list")
        numbers = np.array([self._numbers[name] for name in names], np.int16)
        return _Table(table["end"].to_numpy(), numbers[column.indices.to_numpy()])


class SourceLosses:
    """Sums of losses by source and exposure on this rank's device; nothing waits for them but `report`."""

    def __init__(self, names: SourceNames, world: World) -> None:
        self._names, self._world = names, world
        self._sums = torch.zeros(2, 2 * len(names.names), dtype=torch.float64, device=world.device)

    def add(self, losses: Tensor, counted: Tensor, sources: Tensor, again: Tensor) -> None:
        """`losses`, `counted` (which labels count) and `sources` are [rows, S]; `again` [rows]: on a later pass.

        A loss that is not finite is left out: its step is skipped, and it would be all that is told of its source.
        """
        losses, counted = losses.detach().nan_to_num(0.0, 0.0, 0.0), counted & losses.isfinite()
        slots = (sources + again[:, None] * len(self._names.names)).flatten()
        values = torch.stack((losses.flatten(), counted.flatten())).to(torch.float64)
        self._sums.index_add_(1, slots.to(self._sums.device), values)

    def report(self) -> dict[str, SourceLoss]:
        """What all ranks saw since the last report; every rank calls it."""
        nats, tokens = self._world.add_up(self._sums.clone()).tolist()
        self._sums.zero_()
        count = len(self._names.names)
        found: dict[str, SourceLoss] = {}
        for number, name in enumerate(self._names.names):
            first, again = (self._exposure(number, nats[i], tokens[i]) for i in (number, number + count))
            if first or again:
                found[name] = SourceLoss(first=first, again=again)
        return found

    def _exposure(self, number: int, nats: float, tokens: float) -> Exposure | None:
        if not tokens:
            return None
        loss = nats / tokens
        bits = loss * self._names.tokens_per_byte[number] / math.log(2)
        return Exposure(tokens=int(tokens), loss=loss, bits_per_byte=bits)
