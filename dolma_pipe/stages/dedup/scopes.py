"""`scope`: only documents of one scope can be copies of each other.

    all             everything that is given (the default)
    dataset         each data set
    source          the documents' `source`; likewise added, created, metadata.NAME (dotted)
    path:REGEX      what the expression finds in the name of the shard: its first group, or all that it matches

Documents that lack the field make a scope of their own, which is counted.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dolma_pipe.batch import Batch, UInt64s
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.shards import Shard
from dolma_pipe.stages.dedup.normalization import value_bytes
from dolma_pipe.stages.dedup.spill import Keyed

pc: Any = pyarrow.compute
FIELDS = ("source", "added", "created")


class Scope:
    """Says of every document in which scope it is; `column` is what that takes of it."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        head = scope.partition(".")[0]
        self.column = head if scope in FIELDS or (scope.startswith("metadata.") and scope != "metadata.") else None
        self._pattern = _pattern(scope.removeprefix("path:")) if scope.startswith("path:") else None
        if scope not in ("all", "dataset") and self.column is None and self._pattern is None:
            known = ", ".join(FIELDS)
            raise ConfigError(f"scope: {scope!r} is not one of all, dataset, {known}, metadata.NAME, path:REGEX")

    @property
    def is_all(self) -> bool:
        return self.scope == "all"

    def check(self, shard: Shard) -> None:
        """Refuse a shard that has no scope."""
        if self._pattern is not None and not self._pattern.search(shard.name):
            raise DataError(
                f"{shard.path}: the scope {self.scope} finds nothing in {shard.name!r}; change the expression"
            )

    def of(self, batch: Batch, dataset: str) -> pa.Array:
        """The scope of every document; null where it lacks the field."""
        if self.column == "metadata":
            return batch.metadata(self.scope.removeprefix("metadata."))
        if self.column is not None:
            return batch.columns.column(self.column)
        return pa.array([self._of_shard(batch.shard, dataset)] * len(batch), pa.string())

    def _of_shard(self, shard: str, dataset: str) -> str:
        found = self._pattern.search(shard) if self._pattern else None
        return dataset if found is None else found.group(1 if found.re.groups else 0)


def _pattern(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ConfigError(f"scope: path:{expression}: not a regular expression: {error}") from error


def within(keyed: Keyed, scopes: pa.Array) -> Keyed:
    """The keys made different wherever the scopes are: each becomes the hash of its scope's hash and its own."""
    data, offsets = value_bytes(scopes)
    of_scope = hash128_ranges(data, offsets[:-1], offsets[1:])
    parts = np.empty((len(keyed.first), 4), np.uint64)
    parts[:, :2] = np.repeat(of_scope, keyed.counts, axis=0)
    parts[:, 2], parts[:, 3] = keyed.first, keyed.second
    ends = np.arange(32, 32 * len(parts) + 1, 32, dtype=np.int64)
    first, second = _halves(hash128_ranges(parts.astype("<u8").view(np.uint8).reshape(-1), ends - 32, ends))
    return keyed._replace(first=first, second=second)


def _halves(keys: UInt64s) -> tuple[UInt64s, UInt64s]:
    return np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1])


def missing_count(scopes: pa.Array) -> int:
    """How many documents have no scope: null or empty."""
    return int(pc.equal(pc.fill_null(scopes, ""), "").true_count)
