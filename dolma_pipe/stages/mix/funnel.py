"""What became of every document that was read: numbers that add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy.typing as npt

from dolma_pipe.errors import DataError

Array = npt.NDArray[Any]


class Amount(msgspec.Struct):
    """Documents and the bytes of their text as it was read."""

    documents: int = 0
    bytes: int = 0

    def add(self, sizes: Array) -> None:
        self.documents += len(sizes)
        self.bytes += int(sizes.sum())

    def __iadd__(self, other: Amount) -> Amount:
        self.documents += other.documents
        self.bytes += other.bytes
        return self


class Epoch(msgspec.Struct):
    """One copy of each document that has so many: as written; tokens where the mix counts them."""

    documents: int = 0
    bytes: int = 0
    tokens: int | None = None

    def __iadd__(self, other: Epoch) -> Epoch:
        self.documents += other.documents
        self.bytes += other.bytes
        self.tokens = _sum(self.tokens, other.tokens)
        return self


class Taken(Amount):
    """Documents that are in an output, each counted once; `copies`, `written_bytes` and `written_tokens` count them as
    written, `epochs` copy by copy."""

    copies: int = 0
    written_bytes: int = 0
    written_tokens: int | None = None
    epochs: list[Epoch] = []

    def take(self, sizes: Array, written: Array, tokens: Array | None, copies: Array) -> None:
        """Add documents of so many bytes as read and as written, in so many copies each (at least one)."""
        self.add(sizes)
        for copy in range(int(copies.max(initial=0))):
            more = copies > copy
            count = None if tokens is None else int(tokens[more].sum())
            self._epoch(copy, Epoch(int(more.sum()), int(written[more].sum()), count))

    def _epoch(self, copy: int, found: Epoch) -> None:
        if copy == len(self.epochs):
            self.epochs.append(Epoch())
        self.epochs[copy] += found
        self.copies += found.documents
        self.written_bytes += found.bytes
        self.written_tokens = _sum(self.written_tokens, found.tokens)

    def __iadd__(self, other: Amount) -> Taken:
        super().__iadd__(other)
        if isinstance(other, Taken):
            for copy, epoch in enumerate(other.epochs):
                self._epoch(copy, epoch)
        return self


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other


class BucketCount(msgspec.Struct):
    """A bucket of upsampling: documents, what they hold in the mix's unit, and the same as written."""

    documents: int = 0
    weight: int = 0
    copies: int = 0
    written: int = 0

    def __iadd__(self, other: BucketCount) -> BucketCount:
        self.documents += other.documents
        self.weight += other.weight
        self.copies += other.copies
        self.written += other.written
        return self


class RuleCount(msgspec.Struct):
    """What a rule alone would drop (`failed`), and what no other rule drops (`only`)."""

    failed: Amount = msgspec.field(default_factory=Amount)
    only: Amount = msgspec.field(default_factory=Amount)


class EditCount(msgspec.Struct):
    """Spans that were edited, and the documents that had some."""

    documents: int = 0
    spans: int = 0


class Funnel(msgspec.Struct):
    """One source, from what was read to what was written: read = kept + dropped + splits, in documents and bytes.

    `dropped` counts each document under the first reason that removed it: `rules`, the dedup's set,
    `empty_after_edit`, `keep_after`, `over_limit`, `not_sampled`. Quarantined rows were never read. `upsampled` has the
    buckets of each group, in order.
    """

    read: Amount = msgspec.field(default_factory=Amount)
    rules: dict[str, RuleCount] = {}
    dropped: dict[str, Amount] = {}
    kept: Taken = msgspec.field(default_factory=Taken)
    splits: dict[str, Taken] = {}
    edits: dict[str, EditCount] = {}
    upsampled: dict[str, list[BucketCount]] = {}
    quarantined: Amount = msgspec.field(default_factory=Amount)

    @property
    def never_failed(self) -> list[str]:
        """Rules that dropped nothing."""
        return [name for name, rule in self.rules.items() if not rule.failed.documents]

    @property
    def never_applied(self) -> list[str]:
        """Edits that had no span."""
        return [name for name, edit in self.edits.items() if not edit.spans]

    def judge(self, names: Sequence[str], failed: Array, sizes: Array) -> None:
        """Count failures: `failed` is bool[rules, documents], `sizes` the documents' bytes."""
        times = failed.sum(axis=0)
        for name, fails in zip(names, failed, strict=True):
            rule = self.rules.setdefault(name, RuleCount())
            rule.failed.add(sizes[fails])
            rule.only.add(sizes[fails & (times == 1)])

    def __iadd__(self, other: Funnel) -> Funnel:
        self.read += other.read
        self.kept += other.kept
        self.quarantined += other.quarantined
        for name, amount in other.dropped.items():
            self.dropped.setdefault(name, Amount()).__iadd__(amount)
        for name, taken in other.splits.items():
            self.splits.setdefault(name, Taken()).__iadd__(taken)
        for name, rule in other.rules.items():
            mine = self.rules.setdefault(name, RuleCount())
            mine.failed += rule.failed
            mine.only += rule.only
        for name, edit in other.edits.items():
            its = self.edits.setdefault(name, EditCount())
            its.documents += edit.documents
            its.spans += edit.spans
        for group, buckets in other.upsampled.items():
            mine = self.upsampled.setdefault(group, [BucketCount() for _ in buckets])
            for one, more in zip(mine, buckets, strict=True):
                one += more
        return self

    def check(self, name: str) -> None:
        """Raise `DataError` unless every document and byte that was read is accounted for."""
        total = Amount()
        for amount in (self.kept, *self.dropped.values(), *self.splits.values()):
            total.documents += amount.documents
            total.bytes += amount.bytes
        if (total.documents, total.bytes) != (self.read.documents, self.read.bytes):
            raise DataError(
                f"source {name!r}: {self.read.documents} documents ({self.read.bytes} bytes) were read but "
                f"{total.documents} ({total.bytes} bytes) are accounted for; please report this"
            )
