"""What a model sees, and in which order: a function of (token manifests, mixtures, seed, tokens consumed).

The training order is a sequence of instances, each a chunk of a token folder (`chunks`, `order`); chunks have the
longest sequence length of the run, and shorter rows are consecutive parts of them. So row n of length s is part of
instance n*s // S whatever the batch: neither the sequence length nor the batch size changes the order of tokens. A
step shows the next rows; rank r of W takes every W-th of them from r. The global batch is therefore the same for any
number of ranks and any micro-batch, and the position to resume from is one number.

A run may change its mixture (`Mixture`) between two instances; each folder goes on where it was. Of a folder that has
sequences of several lengths (best-fit packing), rows of one of these lengths show the sequences of that length.

Attention and labels cross document boundaries, unless `within_documents` keeps documents apart: then a position
sees its own document only, and the first token of a document is no label.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import Manifest, TokenSet, TokenShard
from dolma_pipe.train.checkpoints.lineage import lineage
from dolma_pipe.train.config import DataSource
from dolma_pipe.train.data.chunks import IGNORED, Chunks, TokenRange
from dolma_pipe.train.data.documents import DocumentTables, Traced
from dolma_pipe.train.data.order import Order, Place
from dolma_pipe.train.sources import SourceNames
from dolma_pipe.types import Plain


class Batch(NamedTuple):
    """Rows of a global batch: `inputs` and `labels` int64 [rows, S].

    `documents` [rows, S] numbers each input's document within its row; `sources` [rows, S] each label's source, and
    `again` [rows] says which rows are of a later pass over their folder. None where nobody asked.
    """

    inputs: Tensor
    labels: Tensor
    again: Tensor
    documents: Tensor | None = None
    sources: Tensor | None = None

    @property
    def row_count(self) -> int:
        return len(self.inputs)

    def rows(self, start: int, end: int) -> Batch:
        part = slice(start, end)
        documents = None if self.documents is None else self.documents[part]
        sources = None if self.sources is None else self.sources[part]
        return Batch(self.inputs[part], self.labels[part], self.again[part], documents, sources)


class Mixture(NamedTuple):
    """What the order shows from instance `first` on; `numbers` are those of its sources among the loader's folders."""

    first: int
    sources: list[DataSource]
    numbers: list[int]
    order: Order


class Part(NamedTuple):
    """Positions from `offset` on of the chunk at a place."""

    place: Place
    offset: int


class Loader:
    """Reads the training order of mixtures of token folders."""

    def __init__(
        self,
        sources: Sequence[DataSource],
        sequence_length: int,
        seed: int,
        within_documents: bool = False,
        by_source: bool = False,
        row_length: int | None = None,
    ) -> None:
        self.within_documents, self.by_source = within_documents, by_source
        self.sequence_length, self.seed = sequence_length, seed
        self.folders: list[Chunks] = []
        self.mixtures: list[Mixture] = []
        self._documents = DocumentTables()
        self.add(sources, 0, row_length)

    @property
    def order(self) -> Order:
        """Of the first mixture, which for most runs is the only one."""
        return self.mixtures[0].order

    @property
    def vocab_size(self) -> int:
        return max(chunks.tokens.manifest.vocab_size for chunks in self.folders)

    @property
    def tokenizer_hash(self) -> str:
        return self.folders[0].tokens.manifest.tokenizer_hash

    @cached_property
    def source_names(self) -> SourceNames | None:
        return SourceNames([chunks.tokens for chunks in self.folders]) if self.by_source else None

    def add(self, sources: Sequence[DataSource], first: int, row_length: int | None = None) -> Mixture:
        """Show another mixture from instance `first` on, in rows of that length (default: `sequence_length`); folders
        that were seen go on where they are by then."""
        seen = self._seen(first)
        numbers = [self._number(source.tokens, row_length or self.sequence_length) for source in sources]
        before = [seen.get(number, 0) for number in numbers]
        folders = [self.folders[number] for number in numbers]
        order = Order(folders, sources, self.seed, before, f"/{first}" if self.mixtures else "")
        self.mixtures.append(Mixture(first, list(sources), numbers, order))
        return self.mixtures[-1]

    def _seen(self, instance: int) -> dict[int, int]:
        """How many chunks of each folder the instances before this one show."""
        seen: dict[int, int] = {}
        ends = [mixture.first for mixture in self.mixtures[1:]] + [instance]
        for mixture, end in zip(self.mixtures, ends, strict=False):
            for number, count in zip(mixture.numbers, mixture.order.shown(end - mixture.first), strict=True):
                seen[number] = seen.get(number, 0) + count
        return seen

    def _number(self, folder: str, row_length: int) -> int:
        for number, chunks in enumerate(self.folders):
            if chunks.folder == folder and chunks.bucket in (None, row_length):
                _check_packing(folder, chunks.tokens.manifest, row_length)
                return number
        tokens = TokenSet.open(folder)
        lengths = _check_packing(folder, tokens.manifest, row_length)
        self.folders.append(Chunks(folder, tokens, self.sequence_length, row_length if len(lengths) > 1 else None))
        first = self.folders[0]
        if _identity_of_ids(tokens) != _identity_of_ids(first.tokens):
            raise DataError(
                f"{folder} was made by another tokenizer, or with another end-of-text or begin-of-text token, than "
                f"{first.folder}; tokenize both alike"
            )
        return len(self.folders) - 1

    def batch(self, first: int, size: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> Batch:
        """A rank's share of the `size` rows from `first` on, `length` positions each; past the end, no label counts."""
        length = length or self.sequence_length
        rows = np.arange(first + rank, first + size, world_size, dtype=np.int64)
        inputs = np.zeros((len(rows), length), np.int64)
        labels = np.full_like(inputs, IGNORED)
        sources, again = np.zeros_like(inputs), np.zeros(len(rows), np.int64)
        for row, part in enumerate(self.parts(rows, length)):
            if part is None:
                continue
            chunks = self.folders[part.place.folder]
            chunks.read(part.place.chunk, inputs[row], labels[row], part.offset)
            again[row] = part.place.epoch > 0
            if self.source_names is not None:
                chunks.sources(part.place.chunk, self.source_names, sources[row], part.offset)
        documents = self._apart(inputs, labels) if self.within_documents else None
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(labels),
            torch.from_numpy(again),
            None if documents is None else torch.from_numpy(documents),
            None if self.source_names is None else torch.from_numpy(sources),
        )

    def parts(self, rows: NDArray[np.int64], length: int) -> list[Part | None]:
        """Which part of which chunk each row of `length` positions shows; None past the end of a mixture's epochs."""
        instances, offsets = np.divmod(rows * length, self.sequence_length)
        parts: list[Part | None] = [None] * len(rows)
        firsts = [mixture.first for mixture in self.mixtures]
        owners = np.array([bisect.bisect_right(firsts, instance) - 1 for instance in instances], np.int64)
        for owner in np.unique(owners):
            mixture = self.mixtures[owner]
            local = instances - mixture.first
            total = mixture.order.total
            mine = np.flatnonzero((owners == owner) & (True if total is None else local < total))
            for row, place in zip(mine, mixture.order.places(local[mine]), strict=True):
                parts[row] = Part(place._replace(folder=mixture.numbers[place.folder]), int(offsets[row]))
        return parts

    def _apart(self, inputs: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each input's document within its row; what follows an end-of-text is another one, and no label of it."""
        ends = inputs == self.folders[0].tokens.manifest.eos_id
        labels[ends] = IGNORED
        return np.cumsum(ends, axis=1) - ends

    def locate(self, row: int, length: int | None = None) -> list[TokenRange]:
        """Where the tokens lie whose prediction a row trained; a shard's `documents()` says whose they are."""
        length = length or self.sequence_length
        part = self.parts(np.array([row], dtype=np.int64), length)[0]
        if part is None:
            return []
        return self.folders[part.place.folder].ranges(part.place.chunk, part.offset, length)

    def passes(self, instances: int) -> dict[str, float]:
        """How often each folder is seen in so many instances."""
        seen = self._seen(instances)
        return {chunks.name: seen.get(number, 0) / chunks.count for number, chunks in enumerate(self.folders)}

    def documents(self, first: int, size: int, length: int) -> list[Traced]:
        """Whose tokens `size` rows from `first` on predict, in the order of the rows."""
        found: list[Traced] = []
        rows = np.arange(first, first + size)
        for row, part in zip(rows, self.parts(rows, length), strict=True):
            for piece in self.locate(int(row), length):
                shard = self._shard(piece)
                for start, end, number in self._documents.between(shard, piece):
                    found.append(
                        Traced(
                            instance=int(row), epoch=0 if part is None else part.place.epoch, tokens=piece.folder,
                            token_shard=piece.shard, start=start, end=end, **self._documents.names(shard, number),
                        )
                    )  # fmt: skip
        return found

    def exclude(self, found: Sequence[Traced]) -> list[TokenRange]:
        """Show the documents of which these are parts no more; their tokens."""
        pieces = [TokenRange(one.tokens, one.token_shard, one.start, one.end) for one in found]
        ranges = {whole: None for piece in pieces for whole in self._documents.whole(self._shard(piece), piece)}
        for whole in ranges:
            self.exclude_tokens(whole)
        return list(ranges)

    def exclude_tokens(self, tokens: TokenRange) -> None:
        """Show these tokens no more: as inputs they become padding, as labels they do not count."""
        self._holder(tokens).exclude(tokens.shard, tokens.start, tokens.end)

    def _shard(self, tokens: TokenRange) -> TokenShard:
        return self._holder(tokens).shard(tokens.shard)

    def _holder(self, tokens: TokenRange) -> Chunks:
        return next(chunks for chunks in self.folders if chunks.holds(tokens))

    def lineage(self) -> dict[str, Plain]:
        """The tokens' hashes, their tokenizer's, and those of the mixes that their text came from."""
        return lineage([chunks.tokens for chunks in self.folders])

    def identity(self) -> dict[str, Plain]:
        """What the order depends on; equal for equal orders."""
        return {
            "mixtures": [self._identity(mixture) for mixture in self.mixtures],
            "sequence_length": self.sequence_length,
            "within_documents": self.within_documents,
            "seed": self.seed,
            "tokenizer": self.tokenizer_hash,
        }

    def _identity(self, mixture: Mixture) -> dict[str, Plain]:
        sources: list[dict[str, Plain]] = []
        for source, number in zip(mixture.sources, mixture.numbers, strict=True):
            chunks = self.folders[number]
            named = {"tokens": source.tokens, "manifest": chunks.hash, "share": source.share, "epochs": source.epochs}
            sources.append(named if chunks.bucket is None else named | {"sequences": chunks.bucket})
        return {"first": mixture.first, "sources": sources}


def _identity_of_ids(tokens: TokenSet) -> tuple[str, int, int | None]:
    manifest = tokens.manifest
    return manifest.tokenizer_hash, manifest.eos_id, manifest.bos_id


def _check_packing(folder: str, manifest: Manifest, row_length: int) -> list[int]:
    """The lengths of sequences into which documents were fitted: they are read as they are, or not at all."""
    packing = manifest.packing
    if packing is None or packing.method != "best-fit":
        return []
    if row_length not in packing.sequence_lengths:
        lengths = " or ".join(map(str, packing.sequence_lengths))
        raise ConfigError(
            f"{folder}: documents were fitted into sequences of {lengths}, which cannot be cut into, or joined to, a "
            f"sequence_length of {row_length}; train at {lengths}, or tokenize without best-fit packing"
        )
    return packing.sequence_lengths


def check_same_data(before: dict[str, Plain], now: dict[str, Plain], checkpoint: str) -> None:
    """Refuse to resume on other data, or in another order, than the checkpoint's; folders may have moved.

    `before` may hold fewer mixtures: those that had been reached.
    """
    if len(now.get("mixtures", ())) < len(before.get("mixtures", ())):
        raise DataError(f"data: {checkpoint} was trained on more phases than there are now; {_CURE}")
    for old, new in zip(before.get("mixtures", ()), now.get("mixtures", ()), strict=False):
        _check_same_mixture(old, new, checkpoint)
    for name in sorted({*before, *now} - {"mixtures"}):
        if before.get(name) != now.get(name):
            raise DataError(f"{name} is {now.get(name)}, but {checkpoint} was trained with {before.get(name)}; {_CURE}")


def _check_same_mixture(before: dict[str, Plain], now: dict[str, Plain], checkpoint: str) -> None:
    if len(before["sources"]) != len(now["sources"]):
        folders = f"{len(now['sources'])} folders of tokens, but {checkpoint} saw {len(before['sources'])}"
        raise DataError(f"data: {folders}; {_CURE}")
    for old, new in zip(before["sources"], now["sources"], strict=True):
        for name in ("manifest", "share", "epochs", "sequences"):
            was, found = old.get(name), new.get(name)
            if was != found:
                what = "the tokens are not those" if name == "manifest" else f"{name} {found}, not the {was}"
                raise DataError(f"{new['tokens']}: {what} that {checkpoint} was trained on; {_CURE}")
    if before["first"] != now["first"]:
        raise DataError(f"data: a phase began at instance {before['first']}, now at {now['first']}; {_CURE}")


_CURE = "restore it, train into another folder (to), or start anew with --force"
