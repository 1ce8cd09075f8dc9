"""Several data sets in shares, straight from documents: each is a stream of its own (`text_stream`), and each instance
shows the next sequence of one of them.

Instances have the longest sequence length of the run, and shorter rows are parts of them, as for token folders
(`loader`); which data set an instance shows is a function of shares and seed (`order.Interleaving`). A data set that is
shorter than its share is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from dolma_pipe.config import fingerprint
from dolma_pipe.train.checkpoints.lineage import code
from dolma_pipe.train.data.chunks import TokenRange
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.data.loader import Batch
from dolma_pipe.train.data.order import Interleaving
from dolma_pipe.train.data.text_stream import TextSource, TextStream
from dolma_pipe.types import Plain


class TextMixture:
    """The streams of a source's data sets, of which each has a share (its folder -> its weight)."""

    def __init__(
        self,
        source: TextSource,
        shares: Mapping[str, float],
        sequence_length: int,
        seed: int,
        within_documents: bool = False,
    ) -> None:
        self.source, self.sequence_length, self.seed = source, sequence_length, seed
        self.within_documents = within_documents
        self._shares = {Path(dataset).name: share for dataset, share in shares.items()}
        self._streams = {
            name: TextStream(OneDataset(source, name), sequence_length, seed, within_documents) for name in self._shares
        }
        weights = [Fraction(str(share)) for share in self._shares.values()]
        key = f"{seed}/{fingerprint(self.identity())}"
        self._order = Interleaving([weight / sum(weights) for weight in weights], key)

    def batch(self, first: int, size: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> Batch:
        """A rank's share of the `size` rows from `first` on, `length` positions each."""
        length = length or self.sequence_length
        found = [
            stream.batch(row, 1, length=length) for stream, row in self._rows(first, size, length)[rank::world_size]
        ]
        documents = [one.documents for one in found if one.documents is not None]
        return Batch(
            torch.cat([one.inputs for one in found]),
            torch.cat([one.labels for one in found]),
            torch.cat([one.again for one in found]),
            torch.cat(documents) if documents else None,
        )

    def _rows(self, first: int, size: int, length: int) -> list[tuple[TextStream, int]]:
        """The stream that each of `size` rows is of, and which row of that stream it is."""
        streams, found = list(self._streams.values()), list[tuple[TextStream, int]]()
        instances, offsets = np.divmod(np.arange(first, first + size) * length, self.sequence_length)
        numbers, _ = self._order.of(instances)
        for number, instance, offset in zip(numbers.tolist(), instances.tolist(), offsets.tolist(), strict=True):
            before = self._order.shown(instance)[number]  # streams are read in order: shards are encoded once
            found.append((streams[number], (before * self.sequence_length + offset) // length))
        return found

    def identity(self) -> dict[str, Plain]:
        """What the order depends on; equal for equal orders."""
        return {
            **self.source.identity(), "shares": dict(self._shares), "sequence_length": self.sequence_length,
            "seed": self.seed, "within_documents": self.within_documents,
        }  # fmt: skip

    def memory(self) -> dict[str, Plain]:
        """What the shards that were read come to."""
        return {name: found for stream in self._streams.values() for name, found in stream.memory().items()}

    def remember(self, memory: dict[str, Plain]) -> None:
        """Know of shards what a run knew before it was stopped."""
        for name, stream in self._streams.items():
            stream.remember({shard: found for shard, found in memory.items() if shard.partition("/")[0] == name})

    def lineage(self) -> dict[str, Plain]:
        return {"code": code(), "documents": self.source.identity()}

    def documents(self, first: int, size: int, length: int) -> list[Traced]:
        """Whose tokens `size` rows from `first` on predict, in the order of the rows."""
        return [
            msgspec.structs.replace(traced, instance=row)
            for row, (stream, own) in enumerate(self._rows(first, size, length), first)
            for traced in stream.documents(own, 1, length)
        ]

    def exclude(self, found: Sequence[Traced]) -> list[TokenRange]:
        """Show these documents no more; as ranges of rows of their shards."""
        return [
            one
            for name, stream in self._streams.items()
            for one in stream.exclude([traced for traced in found if traced.tokens == name])
        ]

    def exclude_tokens(self, tokens: TokenRange) -> None:
        """Show the documents in these rows of a shard no more."""
        self._streams[tokens.folder].exclude_tokens(tokens)


class OneDataset(NamedTuple):
    """The shards of one data set of a source."""

    source: TextSource
    dataset: str

    @property
    def vocab_size(self) -> int:
        return self.source.vocab_size

    @property
    def eos_id(self) -> int:
        return self.source.eos_id

    @property
    def padding_id(self) -> int:
        return self.source.padding_id

    @property
    def names(self) -> list[str]:
        return [name for name in self.source.names if name.partition("/")[0] == self.dataset]

    def identity(self) -> dict[str, Plain]:
        return self.source.identity()

    def read(self, number: int) -> Any:
        return self.source.read(self.source.names.index(self.names[number]))
